# The binary, built from this checkout, in an image that holds nothing else: no shell, no libc, no package manager.
#
#   docker build -t stockade .
#   COPY --from=stockade /stockade /usr/local/bin/stockade        # in the Dockerfile of an agent's image
#
# To confine a command inside a container, that container must be allowed to make user namespaces; `stockade doctor`,
# run in it, says what is missing. Without them a profile whose floor is `full` is refused there, never weakened.

# The Debian image of the release that `rust-version` in Cargo.toml names. Pin it by digest where builds must repeat.
FROM rust:1.95-bookworm AS build
WORKDIR /src
# Named one by one: what is not named (a local `target`, `.git`, files lying about) is not in the build.
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY runtime runtime
COPY sandbox-profiles sandbox-profiles
# The tests are a member of the workspace: cargo reads their manifest, and builds none of them.
COPY tests tests
RUN cargo build --locked --release -p stockade \
 && install -D -m 0755 target/*/release/stockade /out/stockade \
 # Static means static: a binary with an interpreter would not start in the image below.
 && ! (ldd /out/stockade | grep -v 'statically linked' | grep '=>')

FROM scratch
COPY --from=build /out/stockade /stockade
COPY LICENSE /LICENSE
# An ordinary user: Stockade needs no root, and does not want it.
USER 65532:65532
ENTRYPOINT ["/stockade"]
CMD ["--help"]
