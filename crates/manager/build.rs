//! How the program of a release is linked: small. And that its texts are a part of it.

fn main() {
    println!("cargo::rerun-if-changed=link.ld");
    // The macro that reads them does not tell cargo.
    println!("cargo::rerun-if-changed=locales");
    let set = |name: &str| std::env::var(name).unwrap_or_default();
    if set("PROFILE") == "release" {
        let script = format!("-Wl,-T,{}/link.ld", set("CARGO_MANIFEST_DIR"));
        for argument in ["-Wl,--no-eh-frame-hdr", "-Wl,-z,pack-relative-relocs", &script] {
            println!("cargo::rustc-link-arg-bins={argument}");
        }
    }
}
