# AIPO on Debian 12: builds the command from this folder, then copies what `make install` put into /usr/local.
#   docker build -t aipo . && docker run --rm -v "$PWD:/data" -w /data aipo reconstruct --task denoise …
# scripts/clean-container runs the same steps in a chroot where there is no container engine.
FROM debian:bookworm AS build
ARG SWIFT_RELEASE=6.3.1
RUN apt-get update && apt-get install -y --no-install-recommends \
      binutils ca-certificates curl g++ git libc6-dev libcurl4 libncurses6 libsqlite3-0 libxml2 make pkg-config python3 \
      libopenblas-dev liblapacke-dev libpng-dev libturbojpeg0-dev zlib1g-dev libtiff-dev libwebp-dev
# A toolchain that lies in /swift already is taken.
RUN test -x /swift/usr/bin/swift || { mkdir -p /swift && curl -fsSL \
      "https://download.swift.org/swift-$SWIFT_RELEASE-release/debian12/swift-$SWIFT_RELEASE-RELEASE/swift-$SWIFT_RELEASE-RELEASE-debian12.tar.gz" \
      | tar xz -C /swift --strip-components 1; }
ENV PATH=/swift/usr/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
WORKDIR /src
COPY . .
RUN make install PREFIX=/usr/local

FROM debian:bookworm
RUN apt-get update && apt-get install -y --no-install-recommends \
      libopenblas0-pthread liblapacke libpng16-16 libturbojpeg0 libtiff6 libwebp7 zlib1g && rm -rf /var/lib/apt/lists/*
COPY --from=build /usr/local /usr/local
ENTRYPOINT ["aipo"]
