//! Fields of a trunk in requests, with their rules.

use model::trunk::{Did, Source, TrunkHost};
use serde_json::{Value, json};

use crate::input::rule::CustomRule;
use crate::input::{Field, Rule};

static HOSTS: CustomRule = CustomRule {
    holds: |value| {
        let list = value.as_array();
        list.is_some_and(|list| (1..=8).contains(&list.len()) && list.iter().all(is::<TrunkHost>))
    },
    sentence: (
        "must be a list of 1 to 8 hosts like {\"host\": \"sip.carrier.example\", \"port\": 5060, \"transport\": \"udp\", \"priority\": 10, \"weight\": 10}",
        "debe ser una lista de 1 a 8 hosts como {\"host\": \"sip.carrier.example\", \"port\": 5060, \"transport\": \"udp\", \"priority\": 10, \"weight\": 10}",
    ),
    schema: || {
        json!({
            "type": "array", "minItems": 1, "maxItems": 8, "items": host_schema(),
            "examples": [[host_example("sip.carrier.example")]]
        })
    },
};

static PROXY: CustomRule = CustomRule {
    holds: is::<TrunkHost>,
    sentence: (
        "must be a host like {\"host\": \"proxy.carrier.example\", \"port\": 5060, \"transport\": \"udp\"}",
        "debe ser un host como {\"host\": \"proxy.carrier.example\", \"port\": 5060, \"transport\": \"udp\"}",
    ),
    schema: || {
        let mut schema = host_schema();
        schema["examples"] = json!([host_example("proxy.carrier.example")]);
        schema
    },
};

static SOURCES: CustomRule = CustomRule {
    holds: |value| value.as_array().is_some_and(|list| list.len() <= 64 && list.iter().all(is::<Source>)),
    sentence: (
        "must be a list of addresses or networks like 203.0.113.0/24 (at least 8 bits of IPv4, 16 of IPv6)",
        "debe ser una lista de direcciones o redes como 203.0.113.0/24 (al menos 8 bits de IPv4, 16 de IPv6)",
    ),
    schema: || {
        json!({
            "type": "array", "maxItems": 64,
            "items": {"type": "string", "pattern": r"^[0-9A-Fa-f.:]{2,45}(/[0-9]{1,3})?$"},
            "examples": [["203.0.113.0/24"]]
        })
    },
};

static DIDS: CustomRule = CustomRule {
    holds: |value| value.as_array().is_some_and(|list| list.len() <= 1000 && list.iter().all(is::<Did>)),
    sentence: (
        "must be a list of numbers like {\"number\": \"+34911000001\", \"extension\": \"1001\"}",
        "debe ser una lista de números como {\"number\": \"+34911000001\", \"extension\": \"1001\"}",
    ),
    schema: || {
        json!({"type": "array", "maxItems": 1000, "items": {
            "type": "object", "additionalProperties": false, "required": ["number"],
            "properties": {
                "number": {"type": "string", "pattern": r"^\+?[0-9*#]{1,32}$"},
                "extension": {"type": ["string", "null"], "pattern": "^[0-9]{2,6}$"}
            }
        }, "examples": [[{"number": "+34911000001", "extension": "1001"}]]})
    },
};

static CODECS: CustomRule = CustomRule {
    holds: |value| {
        let name = |item: &Value| {
            item.as_str().is_some_and(|name| {
                (1..=32).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            })
        };
        value.as_array().is_some_and(|list| list.len() <= 16 && list.iter().all(name))
    },
    sentence: (
        "must be a list of codecs like PCMU, PCMA, G722, opus",
        "debe ser una lista de códecs como PCMU, PCMA, G722, opus",
    ),
    schema: || {
        json!({
            "type": "array", "maxItems": 16, "items": {"type": "string", "pattern": "^[0-9A-Za-z-]{1,32}$"},
            "examples": [["PCMA", "PCMU"]]
        })
    },
};

fn is<T: serde::de::DeserializeOwned>(value: &Value) -> bool {
    T::deserialize(value).is_ok()
}

fn host_example(name: &str) -> Value {
    json!({"host": name, "port": 5060, "transport": "udp", "priority": 10, "weight": 10})
}

fn host_schema() -> Value {
    json!({
        "type": "object", "additionalProperties": false, "required": ["host"],
        "properties": {
            "host": {"type": "string", "pattern": r"^[0-9A-Za-z_.:\-]{1,253}$"},
            "port": {"type": ["integer", "null"], "minimum": 1, "maximum": 65535},
            "transport": {"type": "string", "enum": ["udp", "tcp", "tls"]},
            "priority": {"type": "integer", "minimum": 0, "maximum": 65535},
            "weight": {"type": "integer", "minimum": 0, "maximum": 65535}
        }
    })
}

macro_rules! fields {
    ($($required:ident)?) => {
        &[
            Field::new("name", Rule::Label(64), "Name of the trunk")$(.$required())?,
            Field::new("hosts", Rule::Custom(&HOSTS), "Hosts of the carrier; a host without a port is looked up by SRV")$(.$required())?,
            Field::new("username", Rule::Label(128), "Digest user name, also used to register").nullable(),
            Field::new("password", Rule::Label(128), "Digest password; stored encrypted and never shown").nullable(),
            Field::new("realm", Rule::Label(128), "Respond only to challenges of this realm").nullable(),
            Field::new("register", Rule::Flag, "Register at the carrier; false if absent"),
            Field::new("registerExpires", Rule::Integer(60, 86_400), "Requested registration expiry in seconds; 600 if absent"),
            Field::new("outboundProxy", Rule::Custom(&PROXY), "Proxy to which all requests are sent; URIs still name the hosts").nullable(),
            Field::new("sources", Rule::Custom(&SOURCES), "Addresses and networks from which the carrier's calls come"),
            Field::new("dids", Rule::Custom(&DIDS), "Numbers of the trunk (DIDs) and the extension that each rings"),
            Field::new("defaultExtension", Rule::ExtensionNumber, "Extension for calls to other numbers").nullable(),
            Field::new("callerId", Rule::OneOf(&["fixed", "own", "pass"]), "Caller number shown to the callee"),
            Field::new("callerNumber", Rule::Dialled, "Own number of the trunk").nullable(),
            Field::new("numberFormat", Rule::OneOf(&["e164", "digits", "dialled"]), "Format of numbers sent to the carrier"),
            Field::new("stripPrefix", Rule::Dialled, "Prefix removed from dialled numbers that begin with it").nullable(),
            Field::new("addPrefix", Rule::Dialled, "Prefix added to numbers that are not international").nullable(),
            Field::new("codecs", Rule::Custom(&CODECS), "Codecs allowed on the trunk; all if empty"),
            Field::new("maxChannels", Rule::Integer(1, 20_000), "Maximum number of concurrent calls").nullable(),
            Field::new("callsPerSecond", Rule::Integer(1, 1000), "Maximum number of new calls per second").nullable(),
            Field::new("priority", Rule::Integer(0, 65_535), "Trunks with lower values are tried first; 10 if absent"),
            Field::new("enabled", Rule::Flag, "Whether the trunk is used; true if absent"),
            Field::new("probe", Rule::Flag, "Probe the hosts with OPTIONS; true if absent"),
            Field::new("diversion", Rule::Flag, "Send Diversion and History-Info on forwarded calls; false if absent"),
        ]
    };
}

pub(crate) const NEW: &[Field] = fields!(required);
pub(crate) const CHANGE: &[Field] = fields!();
