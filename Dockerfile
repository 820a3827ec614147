# syntax=docker/dockerfile:1
# The image: one static binary on a base that has certificates, time zones and a user, and no shell.
#   docker build -t longshore:dev .
#   docker buildx build --platform linux/amd64,linux/arm64 -t …/longshore:0.1.0 .

# Alpine's own target is musl, so what is built here needs no library of the system; a compiler for ring's C is in the image.
FROM rust:1.95-alpine AS build
SHELL ["/bin/ash", "-eo", "pipefail", "-c"]
WORKDIR /src
# Small rather than quick to build: one unit, optimised as a whole, without symbols. LTO=off and CODEGEN_UNITS=16 build it
# in a fraction of the time, for a trial. Paths of this machine stay out of it.
ARG LTO=fat
ARG CODEGEN_UNITS=1
ARG REVISION=unknown
ENV CARGO_PROFILE_RELEASE_LTO=${LTO} \
    CARGO_PROFILE_RELEASE_CODEGEN_UNITS=${CODEGEN_UNITS} \
    CARGO_PROFILE_RELEASE_STRIP=symbols \
    LONGSHORE_REVISION=${REVISION} \
    CARGO_TERM_COLOR=never \
    RUSTFLAGS="--remap-path-prefix=/src=longshore --remap-path-prefix=/usr/local/cargo=cargo"
COPY . .
# The caches are the builder's and never part of a layer, so the binary has to leave them. A binary that asks for a loader
# would not start on the base below: better to hear of it here.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin longshore \
    && install -D target/release/longshore /out/longshore \
    && if readelf --program-headers /out/longshore | grep INTERP; then exit 1; fi \
    && /out/longshore --version

# Certificates, time zones, /tmp and the user 65532; no shell, no package manager.
FROM gcr.io/distroless/static-debian12:nonroot
ARG VERSION=dev
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="Longshore" \
      org.opencontainers.image.description="Queues Kubernetes Jobs in Postgres and creates them by priority under an exact cap." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/longshore/longshore" \
      org.opencontainers.image.documentation="https://github.com/longshore/longshore/blob/main/docs/installing.md" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="gcr.io/distroless/static-debian12:nonroot"
COPY --from=build /out/longshore /usr/local/bin/longshore
# By number, so that the kubelet can see that it is not root.
USER 65532:65532
EXPOSE 8000
# Needs no curl: the binary asks itself. Kubernetes does not look at this; its probes are in the chart.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["/usr/local/bin/longshore", "doctor", "--live"]
ENTRYPOINT ["/usr/local/bin/longshore"]
CMD ["serve"]
