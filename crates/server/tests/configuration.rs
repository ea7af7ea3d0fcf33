//! Error messages and values of the configuration.

use std::path::{Path, PathBuf};

use server::config::{Config, ConfigError, KEYS, Loaded, PublicAddress};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path =
            std::env::temp_dir().join(format!("centralita-configuration-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn read(file: &Path, environment: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let variables = environment.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    Loaded::read_or_default(Some(file), variables)
}

fn shown(config: &Config, name: &str) -> String {
    let key = KEYS.iter().find(|key| key.name == name).unwrap();
    (key.show)(config).unwrap()
}

#[test]
fn a_missing_and_an_empty_file_give_the_defaults() {
    let folder = Folder::new("empty");
    assert_eq!(read(&folder.0.join("nowhere.toml"), &[]).unwrap().config, Config::default());
    assert_eq!(read(&folder.write("empty.toml", ""), &[]).unwrap().config, Config::default());
}

#[test]
fn a_file_that_is_named_must_exist() {
    let folder = Folder::new("named");
    let path = folder.0.join("nowhere.toml");
    let error = Loaded::read(Some(&path), std::iter::empty()).unwrap_err().to_string();
    assert!(
        error.contains("nowhere.toml: the file does not exist; create it with: centralita init"),
        "{error}"
    );
    assert!(Loaded::read(Some(&folder.write("there.toml", "")), std::iter::empty()).is_ok());
}

#[test]
fn an_empty_setting_is_refused_wherever_it_is_written() {
    let folder = Folder::new("empty-settings");
    let file = folder.write("c.toml", "");
    // An empty feature code switches the feature off.
    for key in KEYS.iter().filter(|key| !key.name.starts_with("features.")) {
        let name = format!("CENTRALITA__{}", key.name.to_uppercase().replace('.', "__"));
        for value in ["", "  "] {
            let error = read(&file, &[(&name, value)]).unwrap_err().to_string();
            let expected =
                format!("environment {name}: {}: is empty; give it a value, or unset {name}", key.name);
            assert!(error.contains(&expected), "{error}");
        }
    }
    let error = read(&folder.write("d.toml", "[recording]\ns3_bucket = \"\""), &[]).unwrap_err().to_string();
    assert!(error.contains("d.toml:2: recording.s3_bucket: is empty"), "{error}");
    // The seed names occur in templates that are only partly filled in.
    assert!(read(&file, &[("TWILIO_AUTH_TOKEN", "")]).is_ok());
}

#[test]
fn foreign_variables_may_hold_any_bytes_and_ours_must_be_utf_8() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    let folder = Folder::new("latin");
    let file = folder.write("c.toml", "");
    let latin = || OsString::from_vec(b"Mar\xeda".to_vec());
    let read = |name: OsString| Loaded::read(Some(&file), [(name, latin())].into_iter());
    assert!(read("NAME".into()).is_ok());
    assert!(read(OsString::from_vec(b"N\xe9".to_vec())).is_ok());
    for name in ["CENTRALITA__SIP__DOMAIN", "TWILIO_SIP_USER"] {
        let error = read(name.into()).unwrap_err().to_string();
        assert_eq!(error, format!("environment {name}: is not UTF-8; write its value in UTF-8"));
    }
}

#[test]
fn a_misspelt_variable_gets_a_suggestion() {
    let folder = Folder::new("variables");
    let file = folder.write("c.toml", "");
    let table = [
        ("CENTRALITA__SIP__DOMIAN", "there is no such key; did you mean CENTRALITA__SIP__DOMAIN?"),
        ("CENTRALITA__SIP_DOMAIN", "did you mean CENTRALITA__SIP__DOMAIN?"),
        ("CENTRALITA_HTTP_LISTEN", "is not read; write CENTRALITA__HTTP__LISTEN, with two underscores"),
    ];
    for (name, expected) in table {
        let error = read(&file, &[(name, "x")]).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains(name), "{error}");
    }
    folder.write(".env", "\u{feff}CENTRALITA__SIP__DOMIAN=x\n");
    let error = read(&file, &[]).unwrap_err().to_string();
    let expected = ".env:1: sip.domian: there is no such key; did you mean CENTRALITA__SIP__DOMAIN?";
    assert!(error.contains(expected), "{error}");
    folder.write(".env", "");
    // Variables of the command line, and those that Kubernetes sets for a service of this name.
    for name in ["CENTRALITA_DATA", "CENTRALITA_KEY", "CENTRALITA_PORT", "CENTRALITA_SERVICE_HOST"] {
        assert!(read(&file, &[(name, "x")]).is_ok(), "{name}");
    }
}

#[test]
fn every_error_is_reported_with_file_line_key_and_remedy() {
    let folder = Folder::new("slips");
    let table = [
        ("[sip]\ndomian = \"x\"", ":2: sip.domian: there is no such key; did you mean sip.domain?"),
        (
            "\n\n[http]\nlocal_admn = true",
            ":4: http.local_admn: there is no such key; did you mean http.local_admin?",
        ),
        (
            "[nonsense]\nqwertyuiop = 1",
            ":2: nonsense.qwertyuiop: there is no such key; `centralita config show` lists all",
        ),
        (
            "[sip]\nlisten = [\"tls://0.0.0.0:5061\"]",
            "tls:// is not supported in this version; write udp:// or tcp://",
        ),
        (
            "[sip]\nlisten = [\"wss://0.0.0.0:8089\"]",
            "wss:// is not supported in this version; write udp:// or tcp://",
        ),
        ("[sip]\nlisten = [\"127.0.0.1:5060\"]", "is not a listener; write \"udp://127.0.0.1:5060\""),
        ("[sip]\nlisten = []", "sip.listen: set at least one listener"),
        (
            "[sip]\nlisten = [\"udp://127.0.0.1:5060\", \"udp://127.0.0.1:5060\"]",
            "udp://127.0.0.1:5060 is listed twice",
        ),
        ("[sip]\ndigest = [\"md6\"]", "\"md6\" is not a digest algorithm; write \"md5\" or \"sha-256\""),
        ("[sip]\ndomain = 5", "sip.domain: write a text in quotes"),
        ("[sip]\ndomain = \"sip:x\\r\\nVia: y\"", "is not a host"),
        ("public_address = \"0.0.0.0\"", "cannot be reached by a phone"),
        ("[http]\nlisten = \"localhost:5000\"", "is not an address with a port"),
        ("[http]\nlocal_admin = \"maybe\"", "\"maybe\" is neither true nor false"),
        ("[http]\ntrusted_proxies = [\"proxy.lan\"]", "\"proxy.lan\" is not a network; write \"10.0.0.0/8\""),
        ("[http]\ntrusted_proxies = [\"0.0.0.0/0\"]", "0.0.0.0/0 contains every address"),
        (
            "[http]\norigins = [\"https://crm.example.com/app\"]",
            "is not an origin; write scheme, host and port",
        ),
        ("[http]\norigins = [\"*\"]", "\"*\" is not an origin"),
        (
            "[recording]\ns3_endpoint = \"https://s3.example:99999\"",
            "is not a URL; write \"https://s3.example.com\"",
        ),
        ("[mail]\nsmtp = \"smtps://mail..example\"", "write smtps://USER:PASSWORD@HOST"),
        ("[mail]\nsmtp = \"smtp://mail.example:0\"", "write smtps://USER:PASSWORD@HOST"),
        ("[media]\nports = \"20000-10000\"", "20000-10000 is too small for a call"),
        ("[media]\nports = \"10000\"", "write a port range, \"10000-20000\""),
        ("[store]\nurl = \"mysql://u:secret@h/d\"", "\"mysql://u:***@h/d\" is not a database URL"),
        ("[limits]\ncalls_per_user = 0", "write a whole number from 1 to 20000"),
        ("[limits]\ncall_hours = 1.5", "write a whole number from 1 to 168"),
        (
            "[log]\nlevel = \"chatty\"",
            "\"chatty\" is not a log level; write error, warn, info, debug or trace",
        ),
        ("[dialling]\ncountry = \"341\"", "\"341\" is not a country code; write \"34\", \"1\", \"56\""),
        ("[dialling]\nallowed = [\"0034\"]", "\"0034\" is not a prefix of international numbers"),
        ("[dialling]\nemergency = [\"1\"]", "\"1\" is not an emergency number; write 2 to 8 digits, \"112\""),
        ("[limits]\noutside_minutes_per_day = -1", "write a whole number from 0 to 10000000"),
        ("[http]\nlisten = []", "http.listen: set at least one address"),
        (
            "[http]\nlisten = [\"127.0.0.1:5060\"]",
            "127.0.0.1:5060 is used by sip.listen (tcp://127.0.0.1:5060)",
        ),
        ("[http]\nlisten = [\"127.0.0.1:1\", \"127.0.0.1:1\"]", "127.0.0.1:1 is listed twice"),
        ("[media]\nports = \"5000-6000\"", "5000-6000 contains the port of udp://127.0.0.1:5060"),
        ("[sip]\ndefault_extension = \"reception\"", "\"reception\" is not an extension; write its number"),
        (
            "[log]\nnumbers = \"some\"",
            "\"some\" is not a valid value; write \"masked\", \"full\" or \"none\"",
        ),
        ("[time]\nzoneinfo = \"newest\"", "\"newest\" is not a valid value; write \"auto\""),
        ("[sip\n", ":1: is not valid TOML:"),
    ];
    for (text, expected) in table {
        let error = read(&folder.write("slip.toml", text), &[]).unwrap_err().to_string();
        assert!(error.contains(expected), "{text:?} gave {error:?}, not {expected:?}");
        assert!(error.contains("slip.toml"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn all_errors_are_reported_at_once() {
    let folder = Folder::new("many");
    let file = folder.write("c.toml", "a = 1\n[sip]\nb = 2\n");
    assert_eq!(read(&file, &[("CENTRALITA__SIP__DOMIAN", "x")]).unwrap_err().0.len(), 3);
}

#[test]
fn the_environment_wins_over_dotenv_and_dotenv_over_the_file() {
    let folder = Folder::new("layers");
    let file = folder
        .write("c.toml", "[sip]\ndomain = \"file\"\ndigest = [\"sha-256\"]\n[limits]\ncall_hours = 2\n");
    folder.write(".env", "CENTRALITA__SIP__DOMAIN=dotenv\nCENTRALITA__LIMITS__CALL_HOURS=3\nUNRELATED=1\n");
    let loaded = read(&file, &[("CENTRALITA__SIP__DOMAIN", "environment"), ("PATH", "/bin")]).unwrap();
    assert_eq!(shown(&loaded.config, "sip.domain"), "\"environment\"");
    assert_eq!(shown(&loaded.config, "limits.call_hours"), "3");
    assert_eq!(shown(&loaded.config, "sip.digest"), "[\"sha-256\"]");
    let origins: Vec<String> = loaded.origins.iter().map(|(key, origin)| format!("{key} {origin}")).collect();
    assert!(origins.contains(&"sip.domain environment CENTRALITA__SIP__DOMAIN".to_owned()), "{origins:?}");
}

#[test]
fn lists_of_the_environment_are_separated_by_commas() {
    let folder = Folder::new("lists");
    let listen = "udp://0.0.0.0:5070, tcp://[::1]:5070";
    let loaded = read(&folder.write("c.toml", ""), &[("CENTRALITA__SIP__LISTEN", listen)]).unwrap();
    assert_eq!(shown(&loaded.config, "sip.listen"), "[\"udp://0.0.0.0:5070\", \"tcp://[::1]:5070\"]");
}

#[test]
fn outbound_limits_and_emergency_numbers_are_configurable() {
    // toll fraud, emergency calls
    let folder = Folder::new("outside");
    let loaded = read(&folder.write("c.toml", ""), &[]).unwrap();
    assert_eq!(shown(&loaded.config, "limits.outside_calls_per_minute"), "30");
    assert_eq!(shown(&loaded.config, "limits.outside_minutes_per_day"), "600");
    assert!(loaded.config.dial_rules().emergency.is_empty(), "those of the country");
    let text = "[limits]\noutside_minutes_per_day = 0\n[dialling]\nemergency = [\"112\", \"0800911\"]\n";
    let loaded = read(&folder.write("c.toml", text), &[]).unwrap();
    assert_eq!(shown(&loaded.config, "limits.outside_minutes_per_day"), "0");
    assert_eq!(shown(&loaded.config, "dialling.emergency"), "[\"112\", \"0800911\"]");
    assert_eq!(loaded.config.dial_rules().emergency.len(), 2);
}

#[test]
fn the_names_of_the_seeds_are_honoured_and_ours_win() {
    let folder = Folder::new("seeds"); // S103, S105–S108
    let file = folder.write("c.toml", "");
    folder.write(
        ".env",
        "RTP_PORT_START=10000\nRTP_PORT_END=10100\nEXTERNAL_IP=\"179.60.72.50\"\nTWILIO_DID=+1,+2\n\
         TWILIO_SIP_USER=u\nTWILIO_SIP_PASSWORD=very-secret\nTWILIO_AUTH_TOKEN=\n",
    );
    let config = read(&file, &[]).unwrap().config;
    assert_eq!(config.media.ports, 10_000..=10_100);
    assert_eq!(config.public_address, PublicAddress::Host("179.60.72.50".into()));
    assert_eq!(config.twilio.did, ["+1", "+2"]);
    assert_eq!(shown(&config, "twilio.sip_password"), "\"***\"");
    assert!(config.twilio.auth_token.is_none());
    let ours =
        read(&file, &[("CENTRALITA__MEDIA__PORTS", "20000-20100"), ("RTP_PORT_END", "10200")]).unwrap();
    assert_eq!(ours.config.media.ports, 20_000..=20_100);
}

#[test]
fn the_dial_policy_knows_its_country_from_the_configuration_or_from_our_own_number() {
    let folder = Folder::new("dialling"); // toll fraud
    let text =
        "[dialling]\ncountry = \"+34\"\nallowed = [\"34\", \"+44\"]\nopened = [\"53\"]\nblocked = [\"33\"]\n";
    let config = read(&folder.write("c.toml", text), &[("TWILIO_DID", "+56226665897")]).unwrap().config;
    let rules = config.dial_rules();
    assert_eq!((rules.country.as_deref(), rules.allowed.len(), &*rules.allowed[1]), (Some("34"), 2, "44"));
    assert_eq!((&*rules.opened[0], &*rules.blocked[0]), ("53", "33"));
    assert_eq!(shown(&config, "dialling.allowed"), "[\"34\", \"44\"]");
    let config = read(&folder.write("d.toml", ""), &[("TWILIO_DID", "+56226665897,+1")]).unwrap().config;
    assert_eq!(config.dial_rules().country.as_deref(), Some("56"));
    assert_eq!(read(&folder.write("e.toml", ""), &[]).unwrap().config.dial_rules().country, None);
}

#[test]
fn no_secret_is_ever_shown() {
    let folder = Folder::new("secrets");
    let text = "[twilio]\nsip_password = \"hidden1\"\nauth_token = \"hidden2\"\n";
    let loaded = read(&folder.write("c.toml", text), &[]).unwrap();
    let all: String = KEYS.iter().filter_map(|key| (key.show)(&loaded.config)).collect();
    assert!(!format!("{loaded:?}{all}").contains("hidden"), "{loaded:?}");
}
