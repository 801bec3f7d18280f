//! Compiles the CUDA kernels for a program that is built with `cuda`.
//!
//! Each source in `cuda/` becomes a cubin for the chosen compute capability, and PTX from which the driver of a newer GPU
//! compiles. Both are embedded in the program. The capability is that of `CUDA_COMPUTE_CAP`, or of this machine's first GPU.

use std::{
    env,
    ffi::OsStr,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

fn main() {
    println!("cargo::rerun-if-changed=cuda");
    println!("cargo::rerun-if-env-changed=CUDA_COMPUTE_CAP");
    println!("cargo::rerun-if-env-changed=CUDA_HOME");
    println!("cargo::rerun-if-env-changed=CUDA_PATH");
    println!("cargo::rerun-if-env-changed=NVCC");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    if let Err(reason) = build() {
        println!("cargo::error={reason}");
    }
}

fn build() -> Result<(), String> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let capability = capability()?;
    let compiler = compiler();
    let mut sources: Vec<PathBuf> = fs::read_dir("cuda")
        .map_err(|error| format!("cuda: {error}"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension() == Some(OsStr::new("cu")))
        .collect();
    sources.sort();
    thread::scope(|scope| {
        let compilers: Vec<_> = sources
            .iter()
            .map(|source| scope.spawn(|| compile(&compiler, source, &out, &capability)))
            .collect();
        compilers
            .into_iter()
            .try_for_each(|compiler| compiler.join().map_err(|_| "a compiler's thread panicked".to_owned())?)
    })?;
    let mut images = String::new();
    for source in &sources {
        let name = stem(source)?;
        writeln!(
            images,
            "    Image {{ name: {name:?}, cubin: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{name}.cubin\")), \
             ptx: include_str!(concat!(env!(\"OUT_DIR\"), \"/{name}.ptx\")) }},"
        )
        .map_err(|error| error.to_string())?;
    }
    fs::write(out.join("images.rs"), format!("&[\n{images}]\n")).map_err(|error| format!("images.rs: {error}"))
}

/// Writes a source's cubin and PTX.
fn compile(compiler: &Path, source: &Path, out: &Path, capability: &str) -> Result<(), String> {
    let name = stem(source)?;
    // The instructions of one capability alone, such as 90a, are in no PTX for newer ones.
    let special = if capability == "90" || capability == "100" {
        "a"
    } else {
        ""
    };
    for (kind, arguments) in [
        (
            "cubin",
            vec!["-cubin".to_owned(), format!("-arch=sm_{capability}{special}")],
        ),
        ("ptx", vec!["-ptx".to_owned(), format!("-arch=compute_{capability}")]),
    ] {
        let target = out.join(format!("{name}.{kind}"));
        let output = Command::new(compiler)
            .args(["-std=c++17", "-O3", "-I", "cuda"])
            .args(arguments)
            .arg("-o")
            .args([&target, source])
            .output()
            .map_err(|error| format!("{} does not start: {error} (set CUDA_HOME)", compiler.display()))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            let first: Vec<&str> = text.lines().take(20).collect();
            return Err(format!(
                "{} fails on {}: {}",
                compiler.display(),
                source.display(),
                first.join(" | ")
            ));
        }
    }
    Ok(())
}

fn stem(source: &Path) -> Result<&str, String> {
    let name = source.file_stem().and_then(OsStr::to_str);
    name.ok_or_else(|| format!("{} has no plain name", source.display()))
}

/// nvcc: the one that is named, that of the toolkit, or the first of the path.
fn compiler() -> PathBuf {
    if let Some(named) = env::var_os("NVCC") {
        return named.into();
    }
    let homes = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(env::var_os);
    homes
        .map(|home| Path::new(&home).join("bin/nvcc"))
        .find(|nvcc| nvcc.exists())
        .unwrap_or_else(|| "nvcc".into())
}

/// The compute capability without its point, such as `90`.
fn capability() -> Result<String, String> {
    println!("cargo::rerun-if-env-changed=CUDA_COMPUTE_CAP");
    let named = match env::var("CUDA_COMPUTE_CAP") {
        Ok(named) => named,
        Err(_) => Command::new("nvidia-smi")
            .args(["--query-gpu=compute_cap", "--format=csv,noheader"])
            .output()
            .ok()
            .and_then(|output| String::from_utf8(output.stdout).ok()?.lines().next().map(str::to_owned))
            .ok_or("nvidia-smi names no GPU: set CUDA_COMPUTE_CAP, for example to 90 for H100 and H200")?,
    };
    let digits: String = named.trim().chars().filter(|&c| c != '.').collect();
    let number = digits.trim_end_matches(|c: char| c.is_ascii_lowercase());
    match number.parse::<u32>() {
        Ok(80..) => Ok(number.to_owned()),
        Ok(_) => Err(format!(
            "compute capability {named} is too old: the kernels need 80 (A100) or newer"
        )),
        Err(_) => Err(format!("CUDA_COMPUTE_CAP is `{named}`, not a number such as 90")),
    }
}
