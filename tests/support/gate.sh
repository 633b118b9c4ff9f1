# Sourced by what the gate runs: one build for lints, documentation, tests and the binary that they run. Static, as the
# binary that is given to others is (`.cargo/config.toml`); the target is named so that build scripts and macros, which
# run here, are linked as usual. Arguments and not the environment: a program that a script builds with `cargo install`
# takes nothing from here.
host=$(rustc -vV | sed -n 's/^host: //p')
gate=(
  --locked --profile gate --target "$host"
  --config "target.$host.rustflags=['-C', 'target-feature=+crt-static']"
)
