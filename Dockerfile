# One program that is all three: harvest, harvest enqueue and harvest worker.
#
#   docker build -t picharvest/harvest --build-arg VERSION=v1.2.3 .
#   docker run --rm picharvest/harvest --help

FROM golang:1.26-bookworm AS build
WORKDIR /src
# A layer of its own, so that only a change of the modules fetches them again.
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=devel
RUN CGO_ENABLED=0 go build -trimpath \
      -ldflags "-s -w -X github.com/picharvest/picharvest/internal/app.version=${VERSION}" \
      -o /out/bin/ ./cmd/harvest \
 && mkdir -p /out/empty

# A static program needs nothing below it but the certificates to trust.
FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/bin/ /usr/local/bin/
# A new named volume takes its owner from the folder that it is mounted on.
COPY --from=build --chown=65532:65532 /out/empty /data
COPY --from=build --chown=65532:65532 /out/empty /pictures
ENV HARVEST_DATA=/data
# By number, so that a cluster can see that this is not root.
USER 65532:65532
# Without a shell between, so that a signal to stop reaches the program.
ENTRYPOINT ["harvest"]
