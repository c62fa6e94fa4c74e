//! Generates the gRPC code, for tonic and for its simulated twin. Nothing is downloaded, and no protoc is needed.

use prost::Message;
use std::error::Error;

const PROTO: &str = "proto/squall.proto";

fn main() -> Result<(), Box<dyn Error>> {
    // Both generators read the descriptors from a file, where protoc would have left them.
    let descriptors = protox::compile([PROTO], ["proto"])?;
    let path = std::path::PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?).join("squall.bin");
    std::fs::write(&path, descriptors.encode_to_vec())?;
    tonic_build::configure().file_descriptor_set_path(path).skip_protoc_run().compile_protos(&[PROTO], &["proto"])?;
    Ok(())
}
