//! What drives a target: replays its corpus, then makes new inputs until its share of time is over. There is no coverage
//! to be had from a stable compiler without a second build, so three other things lead the way: inputs are messages and
//! are changed as messages, targets make fresh ones of their own, and an input whose outcome is new is kept and built on.

mod bytes;
mod crash;
pub mod generate;
mod pool;
pub mod wire;

use crash::{Caught, Running};
use keelstone_harness::Random;
use pool::Pool;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long one input may take before it counts as a hang, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(120);
/// What each target gets in CI.
const SHARE: Duration = Duration::from_millis(2_000);

/// What an input led to, in words; numbers in them do not count, and each line does by itself. An error is what must not
/// happen.
pub type Verdict = Result<String, String>;

/// Something that takes bytes from outside.
pub struct Target<'a> {
    /// Also the folder of its corpus.
    pub name: &'static str,
    /// Judges one input.
    pub check: &'a mut dyn FnMut(&[u8]) -> Verdict,
    /// Makes an input from nothing.
    pub generate: &'a dyn Fn(&mut Random) -> Vec<u8>,
    /// Inputs that are made from real encodings, with names; written to the corpus on request.
    pub seeds: &'a dyn Fn() -> Vec<(String, Vec<u8>)>,
}

/// Runs a target: the corpus, then new inputs.
///
/// # Panics
/// If an input is not taken as it should be. The input is printed and kept, with the command that replays it.
pub fn run(target: &mut Target<'_>) {
    crash::limit_memory();
    if let Some(path) = std::env::var_os("KEELSTONE_FUZZ_INPUT") {
        return replay(target, Path::new(&path));
    }
    if std::env::var_os("KEELSTONE_FUZZ_WRITE_SEEDS").is_some() {
        write_seeds(target);
    }
    let mut running = Running::new(target.name);
    let mut pool = Pool::default();
    let begun = Instant::now();
    let corpus = read_corpus(target.name);
    for (name, input) in &corpus {
        let outcome = judge(target, &mut running, input, &format!("corpus file {name}"));
        pool.offer(input, &outcome);
    }
    let mut random = Random::from_environment();
    let mut made = 0_u64;
    while begun.elapsed() < share() {
        let input = match pool.pick(&mut random) {
            Some(parent) if !random.chance(15) => wire::mutate(parent, pool.pick(&mut random), &mut random),
            Some(_) | None => (target.generate)(&mut random),
        };
        let outcome = judge(target, &mut running, &input, "a new input");
        pool.offer(&input, &outcome);
        made += 1;
    }
    running.remove();
    println!(
        "fuzz {}: {} of the corpus and {made} new inputs in {:.1} s, {} outcomes",
        target.name,
        corpus.len(),
        begun.elapsed().as_secs_f64(),
        pool.outcomes()
    );
}

fn share() -> Duration {
    let given = std::env::var("KEELSTONE_FUZZ_SECONDS").ok();
    given.map_or(SHARE, |text| Duration::from_secs_f64(text.parse().expect("KEELSTONE_FUZZ_SECONDS is a number")))
}

fn judge(target: &mut Target<'_>, running: &mut Running, input: &[u8], origin: &str) -> String {
    running.note(input);
    let begun = Instant::now();
    match crash::catch(|| (target.check)(input)) {
        Caught::Fine(outcome) if begun.elapsed() < PATIENCE => outcome,
        Caught::Fine(_) => fail(target, input, origin, &format!("took {:?}", begun.elapsed())),
        Caught::Wrong(why) => fail(target, input, origin, &why),
    }
}

fn fail(target: &mut Target<'_>, input: &[u8], origin: &str, why: &str) -> ! {
    let small =
        crash::shrink(input, &mut |smaller| matches!(crash::catch(|| (target.check)(smaller)), Caught::Wrong(_)));
    crash::report(target.name, &small, origin, why)
}

/// Runs one input, without a net: a panic is shown as it comes.
fn replay(target: &mut Target<'_>, path: &Path) {
    let input = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let verdict = (target.check)(&input);
    println!("fuzz {}: {verdict:?}", target.name);
    verdict.unwrap_or_else(|why| panic!("{}: {why}", target.name));
}

fn corpus_folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target)
}

/// Name and content of each file, by name.
fn read_corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = corpus_folder(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut corpus: Vec<(String, Vec<u8>)> = entries
        .map(|entry| {
            let path = entry.expect("list the corpus").path();
            let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
            (name, std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        })
        .collect();
    corpus.sort();
    corpus
}

/// Replaces the files `seed-*`; what a crash left behind has other names.
fn write_seeds(target: &Target<'_>) {
    let folder = corpus_folder(target.name);
    std::fs::create_dir_all(&folder).expect("make the corpus folder");
    for (name, _) in read_corpus(target.name).into_iter().filter(|(name, _)| name.starts_with("seed-")) {
        std::fs::remove_file(folder.join(name)).expect("remove an old seed");
    }
    for (name, input) in (target.seeds)() {
        std::fs::write(folder.join(format!("seed-{name}")), input).expect("write a seed");
    }
}
