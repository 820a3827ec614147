{{/* Names, labels and the parts that several pods share. */}}

{{- define "longshore.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* 50 characters at most, so that suffixes such as -worker still fit into a name. */}}
{{- define "longshore.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- $name := include "longshore.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "longshore.selectorLabels" -}}
app.kubernetes.io/name: {{ include "longshore.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Takes (dict "root" $ "component" "…"). The version is that of the image, which a tag or digest may change. */}}
{{- define "longshore.labels" -}}
{{- $labels := dict
      "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
      "app.kubernetes.io/name" (include "longshore.name" .root)
      "app.kubernetes.io/instance" .root.Release.Name
      "app.kubernetes.io/version" .root.Chart.AppVersion
      "app.kubernetes.io/component" .component
      "app.kubernetes.io/part-of" "longshore"
      "app.kubernetes.io/managed-by" .root.Release.Service }}
{{- toYaml (merge $labels .root.Values.commonLabels) }}
{{- end }}

{{/* Of pods: without the chart's version, which would restart them when nothing of theirs has changed. */}}
{{- define "longshore.podLabels" -}}
{{- $labels := dict
      "app.kubernetes.io/name" (include "longshore.name" .root)
      "app.kubernetes.io/instance" .root.Release.Name
      "app.kubernetes.io/version" .root.Chart.AppVersion
      "app.kubernetes.io/component" .component
      "app.kubernetes.io/part-of" "longshore"
      "app.kubernetes.io/managed-by" .root.Release.Service }}
{{- toYaml (merge $labels .root.Values.podLabels .root.Values.commonLabels) }}
{{- end }}

{{/* Takes (dict "root" $ "own" map): annotations of its own win over the common ones. With their key, as a line of
metadata, or nothing. */}}
{{- define "longshore.annotations" -}}
{{- with merge (dict) (default dict .own) .root.Values.commonAnnotations }}
{{- print "annotations:" (toYaml . | nindent 2) | nindent 2 }}
{{- end }}
{{- end }}

{{- define "longshore.image" -}}
{{- $name := printf "%s/%s" .Values.image.registry .Values.image.repository | trimPrefix "/" }}
{{- if .Values.image.digest }}
{{- printf "%s@%s" $name .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" $name (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{- define "longshore.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "longshore.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* As a list in YAML, for fromYamlArray. */}}
{{- define "longshore.targetNamespaces" -}}
{{- toYaml (default (list .Release.Namespace) .Values.targetNamespaces) }}
{{- end }}

{{- define "longshore.templatesNamespace" -}}
{{- default (include "longshore.targetNamespaces" . | fromYamlArray | first) .Values.templates.configMap.namespace }}
{{- end }}

{{/* Seconds of a time such as 1h30m; the schema lets nothing else through. */}}
{{- define "longshore.seconds" -}}
{{- $seconds := 0 }}
{{- range $unit, $of := dict "h" 3600 "m" 60 "s" 1 }}
{{- $count := regexFind (printf "[0-9]+%s" $unit) $ | trimSuffix $unit | default "0" | int }}
{{- $seconds = add $seconds (mul $count $of) }}
{{- end }}
{{- $seconds }}
{{- end }}

{{/* Longer than everything that a stopping replica waits for, or the kubelet kills what was nearly done. */}}
{{- define "longshore.gracePeriod" -}}
{{- $least := add (include "longshore.seconds" .Values.config.drainTimeout | int) (include "longshore.seconds" .Values.config.drainDelay | int) }}
{{- if not (hasKey .Values "terminationGracePeriodSeconds") }}
{{- add $least 10 }}
{{- else if le (int .Values.terminationGracePeriodSeconds) (int $least) }}
{{- fail (printf "terminationGracePeriodSeconds must be more than %d: what config.drainDelay and config.drainTimeout come to" $least) }}
{{- else }}
{{- int .Values.terminationGracePeriodSeconds }}
{{- end }}
{{- end }}

{{/* Values of a variable: lists by commas, numbers without an exponent. */}}
{{- define "longshore.text" -}}
{{- if kindIs "slice" . }}
{{- join "," . }}
{{- else if kindIs "float64" . }}
{{- int64 . }}
{{- else }}
{{- . }}
{{- end }}
{{- end }}

{{/* The variables that are no secret, as they stand in the ConfigMap. */}}
{{- define "longshore.settings" -}}
{{- $plurals := dict "allowServiceAccounts" "allowServiceAccount" }}
{{- range $key, $value := omit .Values.config "startGrace" }}
LONGSHORE_{{ default $key (get $plurals $key) | snakecase | upper }}: {{ include "longshore.text" $value | quote }}
{{- end }}
{{- with .Values.config.startGrace }}
{{- $graces := list }}
{{- range $name, $time := . }}
{{- $graces = append $graces (printf "%s=%s" $name $time) }}
{{- end }}
LONGSHORE_START_GRACE: {{ join "," $graces | quote }}
{{- end }}
LONGSHORE_NAMESPACE: {{ include "longshore.targetNamespaces" . | fromYamlArray | join "," | quote }}
{{- with .Values.database.connections }}
LONGSHORE_DATABASE_CONNECTIONS: {{ include "longshore.text" . | quote }}
{{- end }}
{{- if .Values.filter }}
LONGSHORE_FILTER_FILE: /etc/longshore/config/filter.jq
{{- end }}
{{- if .Values.podPolicy }}
LONGSHORE_POD_POLICY: /etc/longshore/config/pod-policy.yaml
{{- end }}
{{- if .Values.templates.files }}
LONGSHORE_TEMPLATES: /etc/longshore/templates
{{- end }}
{{- with .Values.templates.configMap.name }}
LONGSHORE_TEMPLATE_CONFIG_MAP: {{ printf "%s/%s" (include "longshore.templatesNamespace" $) . | quote }}
{{- end }}
{{- if include "longshore.sourcesVolume" . }}
LONGSHORE_SOURCES: /etc/longshore/sources/sources.yaml
{{- end }}
{{- end }}

{{/* The files that replicas read at their start, as the data of a ConfigMap; nothing where there are none. */}}
{{- define "longshore.files" -}}
{{- $files := dict }}
{{- with .Values.filter }}{{ $_ := set $files "filter.jq" . }}{{ end }}
{{- with .Values.podPolicy }}{{ $_ := set $files "pod-policy.yaml" (toYaml .) }}{{ end }}
{{- with .Values.sources.list }}{{ $_ := set $files "sources.yaml" (toYaml (dict "sources" .)) }}{{ end }}
{{- with $files }}{{ toYaml . }}{{ end }}
{{- end }}

{{/* Where the file of sources comes from, or nothing. */}}
{{- define "longshore.sourcesVolume" -}}
{{- if .Values.sources.existingSecret -}}
secret: {secretName: {{ .Values.sources.existingSecret }}, defaultMode: 0440}
{{- else if .Values.sources.existingConfigMap -}}
configMap: {name: {{ .Values.sources.existingConfigMap }}}
{{- else if .Values.sources.list -}}
configMap: {name: {{ include "longshore.fullname" . }}-files, items: [{key: sources.yaml, path: sources.yaml}]}
{{- end }}
{{- end }}

{{/* The variables that lead to the database, and what else was given. The URL is only ever in a Secret. */}}
{{- define "longshore.env" -}}
{{- if or .Values.database.existingSecret .Values.database.url }}
- name: LONGSHORE_DATABASE_URL
  valueFrom:
    secretKeyRef:
      {{- if .Values.database.existingSecret }}
      name: {{ .Values.database.existingSecret }}
      key: {{ .Values.database.existingSecretKey }}
      {{- else }}
      name: {{ include "longshore.fullname" . }}-database
      key: uri
      {{- end }}
{{- end }}
{{- with .Values.database.sslMode }}
- name: PGSSLMODE
  value: {{ . }}
{{- end }}
{{- if .Values.database.ca.existingSecret }}
- name: PGSSLROOTCERT
  value: /etc/longshore/database-ca/ca.crt
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* A pod without a database would only restart; say at once what is missing. */}}
{{- define "longshore.checkValues" -}}
{{- $given := or .Values.database.existingSecret .Values.database.url .Values.extraEnvFrom }}
{{- range .Values.extraEnv }}
{{- $given = or $given (has .name (list "DATABASE_URL" "LONGSHORE_DATABASE_URL")) }}
{{- end }}
{{- if not $given }}
{{- fail "no database: give database.existingSecret, the Secret that holds its URL (for a trial, database.url)" }}
{{- end }}
{{- if and .Values.database.existingSecret .Values.database.url }}
{{- fail "database.existingSecret and database.url exclude each other" }}
{{- end }}
{{- if gt (len (compact (list .Values.sources.existingSecret .Values.sources.existingConfigMap (ternary "list" "" (not (empty .Values.sources.list)))))) 1 }}
{{- fail "sources.list, sources.existingSecret and sources.existingConfigMap exclude each other" }}
{{- end }}
{{- if and .Values.workers.enabled .Values.roles }}
{{- fail "roles and workers.enabled exclude each other: with workers, the first Deployment runs the role api" }}
{{- end }}
{{- with .Values.templates.configMap.namespace }}
{{- if not (has . (include "longshore.targetNamespaces" $ | fromYamlArray)) }}
{{- fail "templates.configMap.namespace must be one of targetNamespaces, for that is where Longshore may read" }}
{{- end }}
{{- end }}
{{- end }}

{{/* What every pod of the chart has, whatever it runs. Takes (dict "root" $ "token" bool). */}}
{{- define "longshore.podBase" -}}
serviceAccountName: {{ include "longshore.serviceAccountName" .root }}
automountServiceAccountToken: {{ .token }}
# A Service called longshore would set LONGSHORE_PORT to tcp://…, which is a setting of ours.
enableServiceLinks: false
securityContext:
  {{- toYaml .root.Values.podSecurityContext | nindent 2 }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The first lines of every container of ours. Takes the root. */}}
{{- define "longshore.containerBase" -}}
image: {{ include "longshore.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
{{- end }}

{{/* Lists of YAML, empty where there is nothing: the certificate authority of the database, for every pod that connects to
it, and what else was given. */}}
{{- define "longshore.volumes" -}}
{{- with .Values.database.ca.existingSecret }}
- name: database-ca
  secret:
    secretName: {{ . }}
    defaultMode: 0440
    items: [{key: {{ $.Values.database.ca.key | quote }}, path: ca.crt}]
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "longshore.volumeMounts" -}}
{{- if .Values.database.ca.existingSecret }}
- name: database-ca
  mountPath: /etc/longshore/database-ca
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What only replicas mount: the files of their settings. */}}
{{- define "longshore.fileVolumes" -}}
{{- if include "longshore.files" . }}
- name: config
  configMap:
    name: {{ include "longshore.fullname" . }}-files
{{- end }}
{{- if .Values.templates.files }}
- name: templates
  configMap:
    name: {{ include "longshore.fullname" . }}-templates
{{- end }}
{{- with include "longshore.sourcesVolume" . }}
- name: sources
  {{- . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "longshore.fileMounts" -}}
{{- if include "longshore.files" . }}
- name: config
  mountPath: /etc/longshore/config
  readOnly: true
{{- end }}
{{- if .Values.templates.files }}
- name: templates
  mountPath: /etc/longshore/templates
  readOnly: true
{{- end }}
{{- if include "longshore.sourcesVolume" . }}
- name: sources
  mountPath: /etc/longshore/sources
  readOnly: true
{{- end }}
{{- end }}

{{- define "longshore.pdbApiVersion" -}}
{{- semverCompare ">=1.21-0" .Capabilities.KubeVersion.Version | ternary "policy/v1" "policy/v1beta1" }}
{{- end }}

{{- define "longshore.hpaApiVersion" -}}
{{- semverCompare ">=1.23-0" .Capabilities.KubeVersion.Version | ternary "autoscaling/v2" "autoscaling/v2beta2" }}
{{- end }}
