# The image of both Cloud Run services: one static-as-possible binary, no shell, not root.
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install --yes --no-install-recommends cmake clang make && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
ENV SQLX_OFFLINE=true
RUN cargo build --release --locked --bin backoffice

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /build/target/release/backoffice /backoffice
USER 65532
EXPOSE 8083 9083
ENTRYPOINT ["/backoffice"]
CMD ["serve"]
