//! What the command line says and how it ends.

use std::path::PathBuf;
use std::process::{Command, Output};

fn run(words: &[&str]) -> Output {
    let folder = std::env::temp_dir();
    Command::new(env!("CARGO_BIN_EXE_centralita"))
        .args(words)
        .current_dir(folder)
        .env_clear()
        .output()
        .unwrap()
}

fn nowhere() -> PathBuf {
    std::env::temp_dir().join(format!("centralita-nowhere-{}", std::process::id()))
}

#[test]
fn the_help_is_as_agreed() {
    insta::assert_snapshot!(server::cli::help());
}

#[test]
fn exit_codes_tell_usage_refusal_and_silence_apart() {
    let data = nowhere();
    let data = data.to_str().unwrap();
    let table: [(&[&str], i32); 7] = [
        (&["--version"], 0),
        (&["config", "check"], 0),
        (&["frobnicate"], 2),
        (&["call", "originate", "1001", "--data", data, "--url", "http://127.0.0.1:1"], 2),
        (&["status", "--data", data], 3),
        (&["status", "--url", "http://127.0.0.1:1"], 3),
        (&["logs", "--data", data], 1),
    ];
    for (words, code) in table {
        let output = run(words);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{words:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn the_effective_configuration_is_itself_a_configuration() {
    let shown = run(&["config", "show"]);
    let file = std::env::temp_dir().join(format!("centralita-effective-{}.toml", std::process::id()));
    std::fs::write(&file, &shown.stdout).unwrap();
    let again = run(&["config", "check", "--config", file.to_str().unwrap()]);
    std::fs::remove_file(&file).unwrap();
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    assert!(String::from_utf8_lossy(&again.stdout).contains("The configuration is good"));
}
