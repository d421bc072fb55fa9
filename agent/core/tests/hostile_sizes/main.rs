//! Files of a few hundred bytes that ask for more memory or time than there is: refused in one sentence, before anything is
//! made. All of them are loaded in a process of its own with little memory, which a single slip ends.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "what takes years must take no time")]

mod files;
mod graphs;
mod operators;

use std::fmt::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use explaind_core::model::{Files, Model, bundle};

use self::files::Case;

/// A bundle with whatever model, of six features.
fn bundle_of(onnx: &[u8]) -> Files {
    let mut manifest = "schema = 1\nname = \"m\"\nversion = \"1\"\n".to_owned();
    for name in 'a'..='f' {
        writeln!(manifest, "[[feature]]\nname = \"{name}\"").expect("strings take text");
    }
    manifest.push_str("[output]\nkind = \"regression\"\ntensor = \"y\"\nindex = 0\nspace = \"value\"\n");
    let mut files = Files::from([
        ("model.onnx".to_owned(), onnx.to_vec()),
        ("manifest.toml".to_owned(), manifest.into_bytes()),
        ("background.csv".to_owned(), b"a,b,c,d,e,f\n1,2,3,4,5,6\n".to_vec()),
    ]);
    let sums: String = files.iter().map(|(name, bytes)| format!("{}  {name}\n", bundle::digest(bytes))).collect();
    files.insert("SHA256SUMS".to_owned(), sums.into_bytes());
    files
}

/// Loads a file, and runs one row and a batch where loading went well.
fn outcome(onnx: &[u8]) -> Result<(), String> {
    let model = Model::load(&bundle_of(onnx)).map_err(|error| error.to_string())?;
    let _answer = model.predict(&[1.0; 6]);
    let _explained = model.explained(&[1.0; 6 * 64]);
    Ok(())
}

/// Loads all files; says what is wrong with what came of them. A file that ends the process is the last that was named.
fn load_all() -> Vec<String> {
    let mut problems = Vec::new();
    let cases: [Vec<Case>; 5] = [
        operators::large_by_one_operator(),
        graphs::large_by_many(),
        graphs::long_work(),
        graphs::of_graphs(),
        graphs::of_stored_tensors(),
    ];
    for (name, expected, onnx) in cases.into_iter().flatten() {
        println!("{name}");
        let started = Instant::now();
        let outcome = outcome(&onnx);
        println!("    {outcome:?} in {:?}", started.elapsed());
        match (outcome, expected) {
            (Err(error), Some(expected)) => {
                if !error.contains(expected) || error.contains('\n') || !error.starts_with("model.onnx: ") {
                    problems.push(format!("{name}: {error}\n    should have: {expected}"));
                }
            }
            (Ok(()), None) => {}
            (Ok(()), Some(_)) => problems.push(format!("{name}: it was not refused")),
            (Err(error), None) => problems.push(format!("{name}: {error}")),
        }
        let took = started.elapsed();
        if took > Duration::from_secs(30) {
            problems.push(format!("{name}: it took {took:?}"));
        }
    }
    problems
}

/// The name by which this file starts itself again.
const IN_A_SMALL_ROOM: &str = "EXPLAIND_TEST_IN_A_SMALL_ROOM";

#[test]
fn files_that_ask_for_more_than_there_is_are_refused_in_a_small_room() {
    if std::env::var_os(IN_A_SMALL_ROOM).is_some() {
        let problems = load_all();
        assert!(problems.is_empty(), "{}", problems.join("\n"));
        return;
    }
    let itself = std::env::current_exe().expect("a name");
    let script = "ulimit -v 1500000 && exec \"$0\" --exact --nocapture \
                  files_that_ask_for_more_than_there_is_are_refused_in_a_small_room";
    let child =
        Command::new("sh").args(["-c", script]).arg(itself).env(IN_A_SMALL_ROOM, "1").output().expect("a child");
    let (out, err) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success(), "{}\n{out}\n{err}", child.status);
    assert!(out.contains("a sparse tensor"), "all files were loaded: {out}");
}
