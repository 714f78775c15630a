# syntax=docker/dockerfile:1
# make image IMAGE=registry.example.com/payu-token-operator:v0.1.0
# For several platforms: docker buildx build --platform linux/amd64,linux/arm64 …
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY api api
COPY cmd cmd
COPY internal internal
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=dev
ARG COMMIT
ARG GOFIPS140=off
RUN GOFIPS140=$GOFIPS140 CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -ldflags "-s -w -X main.version=$VERSION -X main.commit=$COMMIT" -o /manager ./cmd/manager

# Certificate authorities, a nonroot user, and nothing else. hack/image builds the same without an engine.
FROM gcr.io/distroless/static:nonroot
ARG VERSION=dev
ARG COMMIT
LABEL org.opencontainers.image.title=payu-token-operator \
      org.opencontainers.image.licenses=Apache-2.0 \
      org.opencontainers.image.source=https://github.com/payu-token-operator/payu-token-operator \
      org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.revision=$COMMIT
COPY --from=build /manager /manager
USER 65532:65532
ENTRYPOINT ["/manager"]
