# Sourced by what the gate runs: one build for lints, documentation, tests and the binary that they run. Static, as the
# binary that is given to others is (`.cargo/config.toml`); the target is named so that build scripts and macros, which
# run here, are linked as usual.
host=$(rustc -vV | sed -n 's/^host: //p')
export CARGO_BUILD_TARGET=$host
rustflags=CARGO_TARGET_$(tr 'a-z-' 'A-Z_' <<< "$host")_RUSTFLAGS
export "$rustflags=-C target-feature=+crt-static"
gate=(--locked --profile gate)
