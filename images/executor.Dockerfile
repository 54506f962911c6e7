# check=skip=SecretsUsedInArgOrEnv
# The executor image: `make image`. Targets: latest (no shell), debug (busybox) and warmer (latest, but for its entry point).
#
# Everything of firkin's lies below /kaniko and needs nothing of the rest of the root. Contexts: this repository, and
# `wheels`, with a directory for each architecture that holds the wheels of firkin, its dependencies and certifi
# (images/build.py makes it). Steps run on this machine's architecture and only read files of the target's.
ARG PYTHON_BASE=docker.io/library/python:3.11-slim
ARG COMPILER_BASE=docker.io/library/gcc:12
ARG BUSYBOX_BASE=docker.io/library/busybox:1.35

FROM ${PYTHON_BASE} AS python
FROM ${BUSYBOX_BASE} AS busybox

FROM --platform=$BUILDPLATFORM ${PYTHON_BASE} AS runtime
ARG TARGETARCH
COPY images/executor/runtime.py images/executor/elf.py images/executor/main.py /src/
RUN --mount=type=bind,from=python,target=/target --mount=type=bind,from=wheels,source=${TARGETARCH},target=/wheels <<STEPS
set -e
python3 /src/runtime.py /target /kaniko/rt /wheels
cp /src/main.py /kaniko/rt/main.py
mkdir -p /kaniko/ssl/certs
python3 -m zipfile -e /wheels/certifi-*.whl /src/certifi
cp /src/certifi/certifi/cacert.pem /kaniko/ssl/certs/ca-certificates.crt
STEPS

# Debian's compiler for another architecture, unless COMPILER_BASE has it.
FROM --platform=$BUILDPLATFORM ${COMPILER_BASE} AS compiler
ARG BUILDARCH TARGETARCH
RUN <<STEPS
set -e
case $TARGETARCH in amd64) machine=x86_64 package=x86-64 ;; *) machine=aarch64 package=aarch64 ;; esac
prefix=$machine-linux-gnu-
if [ "$TARGETARCH" = "$BUILDARCH" ]; then
    prefix=
elif ! command -v ${prefix}gcc; then
    apt-get -qq update
    apt-get -qq install -y --no-install-recommends gcc-$package-linux-gnu libc6-dev-$TARGETARCH-cross
fi
echo "$prefix" > /prefix
STEPS

FROM compiler AS compiled
COPY --from=runtime /kaniko /image/kaniko
COPY images/executor/launcher.c /src/
RUN <<STEPS
set -e
prefix=$(cat /prefix)
cd /image
find kaniko/rt -type f -name '*.so*' ! -name ld.so -exec ${prefix}strip --strip-unneeded {} +
${prefix}gcc -Os -Wall -Wextra -Werror -nostdlib -static -ffreestanding -fno-stack-protector -fno-pic -no-pie -s \
    -fno-asynchronous-unwind-tables -Wl,--build-id=none -o kaniko/executor /src/launcher.c
cp kaniko/executor kaniko/warmer
cp kaniko/executor kaniko/firkin
mkdir -p kaniko/.docker kaniko/.config/gcloud etc workspace root tmp run var
# As in most base images: what Kubernetes mounts below /var/run is then in nobody's way when `/` becomes one of them.
ln -s ../run var/run
# Any user may add certificates and credentials, and build: OpenShift starts images under a number of its own.
chmod 0777 kaniko kaniko/.docker kaniko/.config kaniko/.config/gcloud kaniko/ssl kaniko/ssl/certs workspace
chmod 0666 kaniko/ssl/certs/ca-certificates.crt
chmod 1777 tmp
chmod 0755 root
echo 'root:x:0:0:root:/root:/sbin/nologin' > etc/passwd
echo 'root:x:0:' > etc/group
echo 'hosts: files dns' > etc/nsswitch.conf
STEPS

FROM --platform=$BUILDPLATFORM ${BUSYBOX_BASE} AS shell
RUN --mount=type=bind,from=busybox,target=/target <<STEPS
set -e
mkdir -p /made/busybox /made/bin
cp /target/bin/busybox /made/busybox/busybox
for name in $(/bin/busybox --list); do [ "$name" = busybox ] || ln -s busybox "/made/busybox/$name"; done
ln -s /busybox/sh /made/bin/sh
STEPS

FROM scratch AS latest
COPY --from=compiled /image /
ENV HOME=/root USER=root PATH=/usr/local/bin:/kaniko SSL_CERT_DIR=/kaniko/ssl/certs DOCKER_CONFIG=/kaniko/.docker/ \
    DOCKER_CREDENTIAL_GCR_CONFIG=/kaniko/.config/gcloud/docker_credential_gcr_config.json KANIKO_DIR=/kaniko
WORKDIR /workspace
ENTRYPOINT ["/kaniko/executor"]

FROM latest AS warmer
ENTRYPOINT ["/kaniko/warmer"]

FROM latest AS debug
COPY --from=shell /made /
ENV PATH=/usr/local/bin:/kaniko:/busybox
