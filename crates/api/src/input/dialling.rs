//! Two objects in the body of an extension: dial permissions and follow-me.

use model::{DialPermissions, DialledNumber, FollowMe, FollowMode, FollowStep};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

/// Default ringing time of a follow-me number in seconds, and its range.
const RING_SECONDS: u16 = 20;
const RING_RANGE: std::ops::RangeInclusive<u16> = 5..=300;

/// `dialPermissions` of a change: absent flags are unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PermissionsChange {
    #[serde(default, deserialize_with = "non_null_bool")]
    internal: Option<bool>,
    #[serde(default, deserialize_with = "non_null_bool")]
    national: Option<bool>,
    #[serde(default, deserialize_with = "non_null_bool")]
    international: Option<bool>,
    #[serde(default, deserialize_with = "non_null_bool")]
    premium: Option<bool>,
}

/// A flag that may be absent but not `null`.
fn non_null_bool<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    bool::deserialize(deserializer).map(Some)
}

impl PermissionsChange {
    pub(crate) fn read(value: &Value) -> Option<PermissionsChange> {
        value.is_object().then(|| serde_json::from_value(value.clone()).ok())?
    }

    /// The permissions after the change.
    pub(crate) fn of(self, old: DialPermissions) -> DialPermissions {
        DialPermissions {
            internal: self.internal.unwrap_or(old.internal),
            national: self.national.unwrap_or(old.national),
            international: self.international.unwrap_or(old.international),
            premium: self.premium.unwrap_or(old.premium),
        }
    }

    pub(crate) fn schema() -> Value {
        let flag = json!({"type": "boolean"});
        json!({
            "type": "object", "additionalProperties": false,
            "properties": {"internal": flag, "national": flag, "international": flag, "premium": flag}
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FollowMeInput {
    #[serde(default)]
    mode: FollowMode,
    numbers: Vec<FollowStepInput>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FollowStepInput {
    number: DialledNumber,
    #[serde(default = "ring_seconds")]
    ring_seconds: u16,
}

/// Default of an absent `ringSeconds`. A `null` is rejected.
fn ring_seconds() -> u16 {
    RING_SECONDS
}

/// Parse `followMe`; `None` if it is malformed.
pub(crate) fn follow_me(value: &Value) -> Option<FollowMe> {
    let input: FollowMeInput = value.is_object().then(|| serde_json::from_value(value.clone()).ok())??;
    if !(1..=FollowMe::NUMBERS).contains(&input.numbers.len()) {
        return None;
    }
    let step = |FollowStepInput { number, ring_seconds }: FollowStepInput| {
        RING_RANGE.contains(&ring_seconds).then_some(FollowStep { number, ring_seconds })
    };
    let numbers = input.numbers.into_iter().map(step).collect::<Option<Vec<_>>>()?;
    Some(FollowMe { mode: input.mode, numbers })
}

pub(crate) fn follow_me_schema() -> Value {
    json!({
        "type": "object", "additionalProperties": false, "required": ["numbers"],
        "properties": {
            "mode": {"type": "string", "enum": ["sequential", "simultaneous"]},
            "numbers": {"type": "array", "minItems": 1, "maxItems": FollowMe::NUMBERS, "items": {
                "type": "object", "additionalProperties": false, "required": ["number"],
                "properties": {
                    "number": {"type": "string", "pattern": r"^\+?[0-9*#]{1,32}$"},
                    "ringSeconds": {"type": "integer", "minimum": RING_RANGE.start(), "maximum": RING_RANGE.end()}
                }
            }}
        }
    })
}
