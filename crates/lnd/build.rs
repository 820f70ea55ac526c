//! Compiles the `.proto` files without `protoc`: ours into the crate, the tests' beside it.

use std::{error::Error, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    for (folder, file) in [("proto", "state.proto"), ("tests", "wallet.proto")] {
        println!("cargo::rerun-if-changed={folder}/{file}");
        let into = out.join(folder);
        std::fs::create_dir_all(&into)?;
        let descriptors = protox::compile([file], [folder])?;
        tonic_prost_build::configure().build_server(false).out_dir(into).compile_fds(descriptors)?;
    }
    Ok(())
}
