//! Feature codes: dialled to change the settings of an extension, to hide the caller's number, or to call back.
//!
//! The switch parses the code and checks the permission. The shell writes the setting, in the same way as the API ([`Output::Setting`]). The caller
//! waits for the result, then hears two rising tones (switched on) or two falling tones (switched off).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use media::{MediaCommand, PlayId};
use model::dialplan::{self, Application, CallOrigin, DialContext, Route};
use model::{CallId, Cause, Credential, DialledNumber, Extension, ExtensionId, TraceStep, policy};

use crate::Output;
use crate::call::{Call, LegState, Phase};
use crate::core::{Core, Cx};

/// Timeout for [`crate::Input::SettingChanged`].
const PATIENCE: Duration = Duration::from_secs(5);
/// Margin after the length of the confirmation tones after which the call ends without a playback report.
const GRACE: Duration = Duration::from_secs(2);

/// Code of each feature; an empty code disables its feature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FeatureCodes {
    /// Unconditional call forwarding on: to the number that follows the code or, without one, to the number set before.
    pub forward_on: String,
    /// Call forwarding off.
    pub forward_off: String,
    /// Do not disturb on.
    pub do_not_disturb_on: String,
    /// Do not disturb off.
    pub do_not_disturb_off: String,
    /// Call the number that follows the code, with the caller's number hidden.
    pub hide_number: String,
    /// Call the last caller.
    pub call_back: String,
}

impl Default for FeatureCodes {
    fn default() -> Self {
        FeatureCodes {
            forward_on: "*72".into(),
            forward_off: "*73".into(),
            do_not_disturb_on: "*78".into(),
            do_not_disturb_off: "*79".into(),
            hide_number: "*67".into(),
            call_back: "*69".into(),
        }
    }
}

/// Feature that a dialled text asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Feature {
    /// Forward to this number; empty: to the number set before.
    ForwardOn(String),
    ForwardOff,
    DoNotDisturb(bool),
    /// Call this number with the caller's number hidden.
    Hide(String),
    CallBack,
}

impl FeatureCodes {
    /// Parse a dialled text. If several codes match, the longest one is used.
    fn read(&self, dialled: &str) -> Option<Feature> {
        let after = |code: &String| dialled.strip_prefix(code.as_str()).filter(|_| !code.is_empty());
        let alone = |code: &String| after(code).filter(|rest| rest.is_empty());
        let found = [
            (&self.forward_on, after(&self.forward_on).map(|to| Feature::ForwardOn(to.to_owned()))),
            (&self.forward_off, alone(&self.forward_off).map(|_| Feature::ForwardOff)),
            (&self.do_not_disturb_on, alone(&self.do_not_disturb_on).map(|_| Feature::DoNotDisturb(true))),
            (&self.do_not_disturb_off, alone(&self.do_not_disturb_off).map(|_| Feature::DoNotDisturb(false))),
            (&self.hide_number, after(&self.hide_number).map(|to| Feature::Hide(to.to_owned()))),
            (&self.call_back, alone(&self.call_back).map(|_| Feature::CallBack)),
        ];
        let found = found.into_iter().filter_map(|(code, feature)| Some((code.len(), feature?)));
        found.max_by_key(|(length, _)| *length).map(|(_, feature)| feature)
    }
}

/// Change of a setting, requested by a feature code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SettingChange {
    /// Extension to change.
    pub extension: ExtensionId,
    /// The new setting.
    pub to: Setting,
    /// Source address of the phone, for the audit log.
    pub from: IpAddr,
    /// Id of the call that dialled the code, for the audit log.
    pub call: CallId,
}

/// New value of a setting, see [`SettingChange`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Setting {
    /// Forward all calls to this number.
    ForwardTo(DialledNumber),
    /// Disable call forwarding.
    ForwardOff,
    /// Do not disturb: whether all calls are refused.
    DoNotDisturb(bool),
}

impl Setting {
    fn is_on(&self) -> bool {
        match self {
            Setting::ForwardTo(_) => true,
            Setting::ForwardOff => false,
            Setting::DoNotDisturb(on) => *on,
        }
    }
}

/// State of the features.
#[derive(Debug, Default)]
pub(crate) struct Features {
    /// Setting that a call asks for, from its start until its end.
    wishes: BTreeMap<CallId, Setting>,
    /// Number of the last caller of each user name; `None` if it was hidden.
    last_callers: BTreeMap<Arc<str>, Option<DialledNumber>>,
}

/// Result of parsing a dialled text.
pub(crate) struct Read {
    /// Number to look up in the dial plan.
    pub(crate) dialled: String,
    /// Route that replaces the look-up in the dial plan.
    pub(crate) route: Option<Route>,
    /// Setting to change.
    pub(crate) setting: Option<Setting>,
    /// Whether the caller's number is hidden.
    pub(crate) hidden: bool,
    /// Trace step that explains the result.
    pub(crate) trace: Option<TraceStep>,
}

/// Confirmation tones, at 8 kHz: 300 ms of silence for the set-up of the media path, then two tones of 200 ms (440 and 660 Hz), rising for on,
/// falling for off.
fn confirmation(on: bool) -> Arc<[i16]> {
    const TONE: usize = 1_600;
    let tone = |hertz: f32| {
        (0..TONE).map(move |n| {
            let edge = (n.min(TONE - n) as f32 / 80.0).min(1.0);
            (6_000.0 * edge * (std::f32::consts::TAU * hertz * n as f32 / 8_000.0).sin()) as i16
        })
    };
    let (first, second) = if on { (440.0, 660.0) } else { (660.0, 440.0) };
    let pause = || std::iter::repeat_n(0, 800);
    std::iter::repeat_n(0, 2_400)
        .chain(tone(first))
        .chain(pause())
        .chain(tone(second))
        .chain(pause())
        .collect()
}

impl Call {
    pub(crate) fn setting_changed(&mut self, cx: &mut Cx<'_>, done: bool) {
        if !matches!(self.phase, Phase::Dialling) {
            return;
        }
        let Some(setting) = cx.core.features.wishes.get(&self.record.id) else { return };
        if !done {
            return self.release(cx, Cause::Internal);
        }
        let clip = confirmation(setting.is_on());
        self.phase = Phase::Announcing(0);
        if !self.answer_caller(cx, None) {
            return self.release(cx, Cause::IncompatibleMedia);
        }
        self.up(cx);
        let length = Duration::from_micros(clip.len() as u64 * 125);
        if let Some(leg) = self.leg(0) {
            let command = MediaCommand::Play { stream: leg.stream.id, play: PlayId(0), clip };
            cx.out.push(Output::Media { worker: leg.stream.port.worker, command });
        }
        self.set_timer(cx, cx.now.instant + length + GRACE);
    }

    /// The call has started: ask the shell to write its setting.
    pub(crate) fn change_setting(&mut self, cx: &mut Cx<'_>) {
        let (id, leg) = (self.record.id.clone(), self.leg(0));
        let extension = self.routing.visited_extensions.first().cloned();
        let from =
            leg.filter(|leg| leg.state == LegState::Trying).map(|leg| leg.hop.remote.ip().to_canonical());
        let to = cx.core.features.wishes.get(&id).cloned();
        let (Some(extension), Some(from), Some(to)) = (extension, from, to) else {
            // The call was forwarded to a feature code: the confirmation could not be played to the owner.
            return self.release(cx, Cause::Refused);
        };
        let token = cx.core.rng.u64();
        cx.core.index.expect(token, self.key);
        cx.out.push(Output::Setting {
            token,
            change: Box::new(SettingChange { extension, to, from, call: id }),
        });
        self.set_timer(cx, cx.now.instant + PATIENCE);
    }

    /// A call reaches an extension: store its caller as the last one, for call back.
    pub(crate) fn remember_caller(&mut self, cx: &mut Cx<'_>, username: &Arc<str>) {
        let number = DialledNumber::parse(&self.record.from_number).ok().filter(|_| !self.routing.hidden);
        cx.core.features.last_callers.insert(Arc::clone(username), number);
    }
}

impl Core {
    /// Parse a dialled text for a feature code; without one it is returned unchanged.
    pub(crate) fn read_feature(&self, caller: &Credential, dialled: String) -> Read {
        let plain = Read { dialled, route: None, setting: None, hidden: false, trace: None };
        let Some(feature) = self.config.features.read(&plain.dialled) else { return plain };
        let step = |outcome: String| Some(TraceStep { rule: "feature".into(), outcome });
        let setting = |wanted: Result<(Setting, String), Cause>, plain: Read| match wanted {
            Ok((setting, outcome)) => Read {
                route: Some(Route::Application(Application::Settings)),
                setting: Some(setting),
                trace: step(outcome),
                ..plain
            },
            Err(cause) => Read {
                route: Some(Route::Refused(cause)),
                trace: step(format!("the code is not carried out: {}", cause.code())),
                ..plain
            },
        };
        let extension = self.extension_of(caller);
        match feature {
            Feature::Hide(number) => {
                let trace = step("the caller's number is hidden".into());
                Read { dialled: number, hidden: true, trace, ..plain }
            }
            Feature::CallBack => {
                let aor = crate::auth::canonical(&self.directory, caller);
                match self.features.last_callers.get(&aor) {
                    Some(Some(number)) => {
                        Read { dialled: number.to_string(), trace: step("the last caller".into()), ..plain }
                    }
                    known => {
                        let why = if known.is_some() { "hid the number" } else { "is not known" };
                        let trace = step(format!("the last caller {why}"));
                        Read { route: Some(Route::Refused(Cause::NotFound)), trace, ..plain }
                    }
                }
            }
            Feature::ForwardOn(number) => {
                let wanted = extension
                    .ok_or(Cause::Forbidden)
                    .and_then(|extension| self.forward_target(extension, &number))
                    .map(|number| (Setting::ForwardTo(number), "all calls are to be forwarded".into()));
                setting(wanted, plain)
            }
            Feature::ForwardOff => {
                let wanted = extension.ok_or(Cause::Forbidden);
                setting(wanted.map(|_| (Setting::ForwardOff, "no call is to be forwarded".into())), plain)
            }
            Feature::DoNotDisturb(on) => {
                let what = if on { "no call is welcome" } else { "calls are welcome" };
                let wanted = extension.ok_or(Cause::Forbidden);
                setting(wanted.map(|_| (Setting::DoNotDisturb(on), what.into())), plain)
            }
        }
    }

    /// Target of unconditional forwarding: the dialled number or, if empty, the number set before. Errors: [`Cause::BadNumber`],
    /// [`Cause::ForwardingLoop`], or the refusal of the dial plan for a forwarded call.
    fn forward_target(&self, extension: &Extension, number: &str) -> Result<DialledNumber, Cause> {
        let number = match number {
            "" => extension.forwarding.number.clone().ok_or(Cause::BadNumber)?,
            number => DialledNumber::parse(&policy::normalise(number)).map_err(|_| Cause::BadNumber)?,
        };
        if number.as_str() == extension.number.as_str() {
            return Err(Cause::ForwardingLoop);
        }
        let asker = DialContext { origin: CallOrigin::Forward, permissions: extension.dial_permissions };
        match dialplan::route(&self.directory, asker, number.as_str()).route {
            Route::Refused(cause) => Err(cause),
            Route::Extension(_) | Route::Username(_) | Route::Application(_) | Route::Trunk(_) => Ok(number),
        }
    }

    /// Store the setting that a new call asks for.
    pub(crate) fn wish_setting(&mut self, call: &CallId, setting: Option<Setting>) {
        if let Some(setting) = setting {
            self.features.wishes.insert(call.clone(), setting);
        }
    }

    /// Remove the setting that an ended call asked for, written or not.
    pub(crate) fn forget_wish(&mut self, call: &CallId) {
        self.features.wishes.remove(call);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_as_they_are_configured() {
        let codes = FeatureCodes::default();
        assert_eq!(codes.read("*72600123456"), Some(Feature::ForwardOn("600123456".into())));
        assert_eq!(codes.read("*72"), Some(Feature::ForwardOn(String::new())));
        assert_eq!(codes.read("*73"), Some(Feature::ForwardOff));
        assert_eq!((codes.read("*731"), codes.read("*97"), codes.read("1001")), (None, None, None));
        assert_eq!(codes.read("*671002"), Some(Feature::Hide("1002".into())));
        let own = FeatureCodes { call_back: "*722".into(), forward_off: String::new(), ..codes };
        assert_eq!(own.read("*722"), Some(Feature::CallBack), "the longer one is meant");
        assert_eq!((own.read("*73"), own.read("")), (None, None), "it is switched off");
    }
}
