//! Output and exit codes of the command line.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

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
    insta::assert_snapshot!(server::cli::help(server::lang::Lang::En));
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

/// [`run`] with environment variables, which may not be UTF-8; kills a command that does not end.
fn run_with(words: &[&str], variables: &[(&str, &[u8])]) -> Output {
    use std::os::unix::ffi::OsStrExt;
    let mut child = Command::new(env!("CARGO_BIN_EXE_centralita"))
        .args(words)
        .current_dir(std::env::temp_dir())
        .env_clear()
        .envs(variables.iter().map(|(name, value)| (name, std::ffi::OsStr::from_bytes(value))))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A server that starts although it should refuse would run forever.
    let started = std::time::Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > std::time::Duration::from_secs(30) {
            child.kill().unwrap();
            panic!("{words:?} does not end: {:?}", child.wait_with_output());
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_latin_1_byte_in_a_foreign_variable_is_ignored() {
    let output = run_with(&["config", "check"], &[("NOMBRE", b"Mar\xeda"), ("LANG", b"\xff")]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let output = run_with(&["config", "check"], &[("CENTRALITA__SIP__DOMAIN", b"\xff")]);
    assert_eq!(output.status.code(), Some(1));
    let why = stderr(&output);
    assert!(why.contains("environment CENTRALITA__SIP__DOMAIN: is not UTF-8"), "{why}");
}

#[test]
fn a_server_does_not_start_on_an_empty_setting_or_without_the_file_that_is_named() {
    let data = nowhere().with_extension("start");
    let words = ["serve", "--data", data.to_str().unwrap()];
    let output = run_with(&words, &[("CENTRALITA__HTTP__LISTEN", b"")]);
    assert_eq!(output.status.code(), Some(1));
    let why = stderr(&output);
    assert!(why.contains("environment CENTRALITA__HTTP__LISTEN: http.listen: is empty"), "{why}");
    let output = run_with(&[&words[..], &["--config", "/nowhere/c.toml"]].concat(), &[]);
    assert_eq!(output.status.code(), Some(1));
    let why = stderr(&output);
    assert!(why.contains("/nowhere/c.toml: the file does not exist"), "{why}");
    assert!(!data.exists(), "nothing is created");
}

#[test]
fn messages_are_in_the_language_of_the_locale() {
    let data = nowhere();
    let status = ["status", "--data", data.to_str().unwrap()];
    let spanish = stderr(&run_with(&status, &[("LANG", b"es_CL.UTF-8")]));
    assert!(spanish.contains("no hay ningún servidor en marcha con"), "{spanish}");
    let english = stderr(&run_with(&[&status[..], &["--lang", "en"]].concat(), &[("LANG", b"es_CL.UTF-8")]));
    assert!(english.contains("no server runs on"), "{english}");
    let help = run_with(&["trunk", "--help", "--lang=es"], &[]);
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(help.contains("Comandos:") && help.contains("Listar los troncales"), "{help}");
    assert!(!help.contains("Print") && !help.contains("Options:"), "{help}");
    let wrong = run_with(&["trunk", "frobnicate"], &[("LC_ALL", b"es")]);
    assert_eq!(wrong.status.code(), Some(2));
    let why = stderr(&wrong);
    assert!(why.contains("no existe el comando «frobnicate»"), "{why}");
}

#[test]
fn programs_get_errors_as_json_and_the_same_words_in_every_language() {
    let data = nowhere();
    let data = data.to_str().unwrap();
    let table: [(&[&str], i32, &str); 4] = [
        (&["status", "--data", data, "-o", "json"], 3, "unreachable"),
        (&["frobnicate", "-o", "json"], 2, "usage"),
        (&["guard", "lift", "nobody", "-ojson", "--url", "127.0.0.1:1"], 2, "usage"),
        (&["config", "check", "--config", "/nowhere/c.toml", "--output=json"], 1, "refused"),
    ];
    for (words, code, kind) in table {
        let output = run_with(words, &[("LANG", b"es")]);
        let why = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {why}");
        let error: serde_json::Value =
            serde_json::from_str(&why).unwrap_or_else(|_| panic!("{words:?}: {why}"));
        assert_eq!((error["success"].as_bool(), error["code"].as_str()), (Some(false), Some(kind)));
        assert!(error["error"].as_str().is_some_and(|text| !text.is_empty()), "{error}");
    }
}

#[test]
fn a_port_in_use_is_reported_with_the_program_that_uses_it() {
    let data = nowhere().with_extension("ports");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let me = format!("(process {})", std::process::id());
    for word in ["serve", "doctor"] {
        let words = [word, "--data", data.to_str().unwrap()];
        let output = run_with(&words, &[("CENTRALITA__HTTP__LISTEN", listen.as_bytes())]);
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        let all = format!("{}{}", String::from_utf8_lossy(&output.stdout), stderr(&output));
        assert!(all.contains(&me) && all.contains("is used by"), "{all}");
    }
    std::fs::remove_dir_all(&data).ok();
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

// F26
#[test]
fn an_import_without_a_server_refuses_what_the_api_refuses_and_names_the_line() {
    let data = nowhere().with_extension("import");
    let list = data.with_extension("csv");
    let words = ["--data", data.to_str().unwrap()];
    let import = || run(&[&["extension", "import", list.to_str().unwrap()][..], &words[..]].concat());
    let long = "x".repeat(300);
    let header = "number,username,password,owner\n1001,phone-1,vE5-quilla-9,ana\n";
    for (lines, expected) in [
        ("1002,phone-2,\"vE5-quilla-9,ana\n".to_owned(), "line 3"),
        (format!("1002,phone-2,{long},ana\n"), "line 3"),
        ("1002,phone-2,123456,ana\n".to_owned(), "line 3"),
        ("1002,phone-1,vE5-quilla-9,ana\n".to_owned(), "line 3"),
    ] {
        std::fs::write(&list, format!("{header}{lines}")).unwrap();
        let output = import();
        assert_eq!(output.status.code(), Some(1), "{lines}: {}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{lines}: {}", stderr(&output));
        assert!(
            !stderr(&output).contains("quilla") && !stderr(&output).contains(&long),
            "{}",
            stderr(&output)
        );
    }
    std::fs::write(&list, "").unwrap();
    assert_eq!(import().status.code(), Some(1), "an empty file");
    // Nothing was stored by the refused imports: the number and the user name are free.
    std::fs::write(&list, header).unwrap();
    let output = import();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "1 extension imported", "{}", stderr(&output));
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::remove_file(&list).unwrap();
}
