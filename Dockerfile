# syntax=docker/dockerfile:1
# A small image for CPUs: the server and its worker, no shell, not root, nothing written to its own file system.
#
#   docker build -t sconce .
#   docker run --read-only -p 8001:8001 -p 8002:8002 -v "$PWD/models:/models:ro" sconce

FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
COPY . .
# The caches outlive the layer, so that a second build compiles only what changed; the binary is copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --package sconce --package sconce-worker \
    && install -D -t /out target/release/sconce target/release/sconce-worker

FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="sconce" \
      org.opencontainers.image.description="An inference server: dynamic batching, candle models, latency percentiles and confidence histograms" \
      org.opencontainers.image.licenses="Apache-2.0"
# The worker stands beside the server, which looks for it there.
COPY --from=build /out/sconce /out/sconce-worker /usr/local/bin/
# The shipped models, so that the image answers something before a folder is mounted over them.
COPY models /models
# By number, so that Kubernetes can see that it is not root.
USER 65532:65532
# 8001 gRPC, 8002 metrics.
EXPOSE 8001 8002
STOPSIGNAL SIGTERM
ENTRYPOINT ["sconce"]
CMD ["serve", "--models", "/models"]
