//! Tests of the mailbox menu (`*97` and `*98`), key by key (S72).

use MessageState::{Heard as Old, New, Saved};

use super::*;

fn id(name: &str) -> MessageId {
    MessageId::parse(name).unwrap()
}

fn entry(name: &str, state: MessageState) -> Entry {
    Entry { id: id(name), state, from: "1002".into() }
}

fn two() -> Vec<Entry> {
    vec![entry("vm_1", Old), entry("vm_2", New)]
}

/// Short notation of actions: the names of the prompts, `play vm_1`, `mark vm_1 Heard`, ….
#[allow(clippy::wildcard_enum_match_arm)] // actions without a short form use their `Debug` output
fn short(acts: &[IvrAction]) -> Vec<String> {
    let each = acts.iter().map(|act| match act {
        IvrAction::Say(said) => said.iter().map(|p| format!("{p:?}")).collect::<Vec<_>>().join(" "),
        IvrAction::SayAndPlay(_, Audio::Message(id)) => format!("play {}", id.as_str()),
        IvrAction::Mark(id, state) => format!("mark {} {state:?}", id.as_str()),
        IvrAction::Delete(id) => format!("delete {}", id.as_str()),
        IvrAction::VerifyPin { number, pin } => {
            format!("judge {} {}", number.as_deref().unwrap_or("-"), pin.expose())
        }
        IvrAction::Wait(time) => format!("wait {}", time.as_secs()),
        other => format!("{other:?}"),
    });
    each.collect()
}

/// Dial several keys; returns the actions of the last one.
fn dial(menu: &mut Menu, keys: &str) -> Vec<String> {
    keys.chars().map(|key| short(&menu.hear(&IvrEvent::Digit(key)))).last().unwrap()
}

const MAIN: &str = "YouHave OneNew And OneOld MainMenu";

#[test]
fn the_pin_opens_the_box_and_a_wrong_one_is_asked_for_three_times() {
    let (mut menu, first) = Menu::own();
    assert_eq!(short(&first), ["AskPin"]);
    assert_eq!(short(&menu.hear(&IvrEvent::Played)), ["wait 10"]);
    assert_eq!(dial(&mut menu, "471"), ["StopPlayback", "wait 5"]);
    assert_eq!(dial(&mut menu, "2#"), ["StopPlayback", "judge - 4712"]);
    assert_eq!(short(&menu.hear(&IvrEvent::Refused)), ["Wrong AskPin"]);
    dial(&mut menu, "4713");
    assert_eq!(
        short(&menu.hear(&IvrEvent::Late)),
        ["StopPlayback", "judge - 4713"],
        "a pause counts as hash"
    );
    menu.hear(&IvrEvent::Refused);
    dial(&mut menu, "9999*4714#");
    assert_eq!(short(&menu.hear(&IvrEvent::Refused)), ["Wrong Goodbye"]);
    assert_eq!(menu.hear(&IvrEvent::Played), [IvrAction::HangUp]);

    let (mut menu, _) = Menu::own();
    dial(&mut menu, "4711#");
    assert_eq!(dial(&mut menu, "1"), Vec::<String>::new(), "nothing before the verdict");
    assert_eq!(short(&menu.hear(&IvrEvent::Admitted(two()))), [MAIN]);
}

#[test]
fn any_box_is_asked_for_by_number_and_nobody_learns_which_half_was_wrong() {
    let (mut menu, first) = Menu::any();
    assert_eq!(short(&first), ["AskNumber"]);
    assert_eq!(dial(&mut menu, "1001#"), ["AskPin"]);
    assert_eq!(dial(&mut menu, "4711#"), ["StopPlayback", "judge 1001 4711"]);
    assert_eq!(short(&menu.hear(&IvrEvent::Refused)), ["Wrong AskNumber"]);
}

#[test]
fn messages_are_played_marked_and_walked_through() {
    let (mut menu, first) = Menu::open(two());
    assert_eq!(short(&first), [MAIN]);
    assert_eq!(dial(&mut menu, "1"), ["play vm_2"], "the first new one");
    assert_eq!(short(&menu.hear(&IvrEvent::Played)), ["mark vm_2 Heard", "MessageMenu"]);
    assert_eq!(dial(&mut menu, "5"), ["play vm_2"]);
    assert_eq!(short(&menu.hear(&IvrEvent::Played)), ["MessageMenu"], "marked once");
    assert_eq!(dial(&mut menu, "4"), ["play vm_1"]);
    assert_eq!(dial(&mut menu, "4"), ["play vm_1"]);
    assert_eq!(dial(&mut menu, "9"), ["mark vm_1 Saved", "play vm_2"]);
    assert_eq!(dial(&mut menu, "6"), ["NoMore YouHave Number(2) Old MainMenu"]);
    assert_eq!(menu.entries[0].state, Saved);
    assert_eq!(dial(&mut menu, "17"), ["delete vm_1", "play vm_2"]);
    assert_eq!(dial(&mut menu, "7"), ["delete vm_2", "Deleted NoMore NoMessages MainMenu"]);
    assert_eq!(dial(&mut menu, "1"), ["NoMore NoMessages MainMenu"]);
    assert_eq!(dial(&mut menu, "#"), ["Goodbye"]);
}

#[test]
fn who_moves_on_has_heard_a_message_and_who_hangs_up_has_not() {
    let (mut menu, _) = Menu::open(two());
    dial(&mut menu, "1");
    assert_eq!(dial(&mut menu, "*"), ["mark vm_2 Heard", "YouHave Number(2) Old MainMenu"]);
    let (mut menu, _) = Menu::open(two());
    dial(&mut menu, "1");
    assert_eq!(
        short(&menu.hear(&IvrEvent::Missing)),
        ["Sorry MessageMenu"],
        "audio that is away marks nothing"
    );
}

#[test]
fn a_greeting_is_recorded_heard_about_and_kept() {
    let (mut menu, _) = Menu::open(Vec::new());
    assert_eq!(dial(&mut menu, "0"), ["RecordGreeting"]);
    assert_eq!(short(&menu.hear(&IvrEvent::Played)), ["Beep"]);
    assert_eq!(menu.hear(&IvrEvent::Played), [IvrAction::Record(Taken::Greeting)]);
    assert_eq!(dial(&mut menu, "1"), Vec::<String>::new());
    assert_eq!(dial(&mut menu, "#"), ["Stop"]);
    let kept = IvrEvent::Recorded(Recorded::Kept { millis: 3_000 });
    assert_eq!(short(&menu.hear(&kept)), ["GreetingMenu"]);
    assert_eq!(dial(&mut menu, "3"), ["Forget", "RecordGreeting"]);
    menu.hear(&IvrEvent::Played);
    menu.hear(&IvrEvent::Played);
    menu.hear(&IvrEvent::Late);
    menu.hear(&kept);
    assert_eq!(dial(&mut menu, "1"), ["Keep", "GreetingKept NoMessages MainMenu"]);
}

#[test]
fn without_digits_the_prompt_is_repeated_once_before_the_end() {
    let (mut menu, _) = Menu::open(two());
    assert_eq!(short(&menu.hear(&IvrEvent::Played)), ["wait 10"]);
    assert_eq!(short(&menu.hear(&IvrEvent::Late)), [MAIN]);
    menu.hear(&IvrEvent::Played);
    assert_eq!(short(&menu.hear(&IvrEvent::Late)), ["Goodbye"]);
}
