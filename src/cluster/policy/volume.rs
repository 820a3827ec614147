//! The kinds of volumes there are.

use k8s_openapi::api::core::v1::Volume;
use serde::Deserialize;

/// The kinds of volumes, by the names of Kubernetes' fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum VolumeKind {
    AwsElasticBlockStore,
    AzureDisk,
    AzureFile,
    Cephfs,
    Cinder,
    ConfigMap,
    Csi,
    #[serde(rename = "downwardAPI")]
    DownwardApi,
    EmptyDir,
    Ephemeral,
    Fc,
    FlexVolume,
    Flocker,
    GcePersistentDisk,
    GitRepo,
    Glusterfs,
    HostPath,
    Image,
    Iscsi,
    Nfs,
    PersistentVolumeClaim,
    PhotonPersistentDisk,
    PortworxVolume,
    Projected,
    Quobyte,
    Rbd,
    #[serde(rename = "scaleIO")]
    ScaleIo,
    Secret,
    Storageos,
    VsphereVolume,
}

impl VolumeKind {
    /// What the profile `restricted` allows.
    pub const RESTRICTED: [Self; 8] = [
        Self::ConfigMap,
        Self::Csi,
        Self::DownwardApi,
        Self::EmptyDir,
        Self::Ephemeral,
        Self::PersistentVolumeClaim,
        Self::Projected,
        Self::Secret,
    ];
}

impl std::fmt::Display for VolumeKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let debug = format!("{self:?}");
        let name = match self {
            Self::DownwardApi => "downwardAPI",
            Self::ScaleIo => "scaleIO",
            // The variants are named as the fields are, but for the first letter.
            _ => &format!("{}{}", debug[..1].to_lowercase(), &debug[1..]),
        };
        f.write_str(name)
    }
}

/// The sources that a volume has: one, unless somebody made a mistake.
pub fn sources(volume: &Volume) -> Vec<VolumeKind> {
    use VolumeKind as Kind;
    let Volume {
        name: _,
        aws_elastic_block_store,
        azure_disk,
        azure_file,
        cephfs,
        cinder,
        config_map,
        csi,
        downward_api,
        empty_dir,
        ephemeral,
        fc,
        flex_volume,
        flocker,
        gce_persistent_disk,
        git_repo,
        glusterfs,
        host_path,
        image,
        iscsi,
        nfs,
        persistent_volume_claim,
        photon_persistent_disk,
        portworx_volume,
        projected,
        quobyte,
        rbd,
        scale_io,
        secret,
        storageos,
        vsphere_volume,
    } = volume;
    let all = [
        (Kind::AwsElasticBlockStore, aws_elastic_block_store.is_some()),
        (Kind::AzureDisk, azure_disk.is_some()),
        (Kind::AzureFile, azure_file.is_some()),
        (Kind::Cephfs, cephfs.is_some()),
        (Kind::Cinder, cinder.is_some()),
        (Kind::ConfigMap, config_map.is_some()),
        (Kind::Csi, csi.is_some()),
        (Kind::DownwardApi, downward_api.is_some()),
        (Kind::EmptyDir, empty_dir.is_some()),
        (Kind::Ephemeral, ephemeral.is_some()),
        (Kind::Fc, fc.is_some()),
        (Kind::FlexVolume, flex_volume.is_some()),
        (Kind::Flocker, flocker.is_some()),
        (Kind::GcePersistentDisk, gce_persistent_disk.is_some()),
        (Kind::GitRepo, git_repo.is_some()),
        (Kind::Glusterfs, glusterfs.is_some()),
        (Kind::HostPath, host_path.is_some()),
        (Kind::Image, image.is_some()),
        (Kind::Iscsi, iscsi.is_some()),
        (Kind::Nfs, nfs.is_some()),
        (Kind::PersistentVolumeClaim, persistent_volume_claim.is_some()),
        (Kind::PhotonPersistentDisk, photon_persistent_disk.is_some()),
        (Kind::PortworxVolume, portworx_volume.is_some()),
        (Kind::Projected, projected.is_some()),
        (Kind::Quobyte, quobyte.is_some()),
        (Kind::Rbd, rbd.is_some()),
        (Kind::ScaleIo, scale_io.is_some()),
        (Kind::Secret, secret.is_some()),
        (Kind::Storageos, storageos.is_some()),
        (Kind::VsphereVolume, vsphere_volume.is_some()),
    ];
    all.into_iter().filter(|(_, given)| *given).map(|(kind, _)| kind).collect()
}
