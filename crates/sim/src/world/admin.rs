//! Actions of users and administrators: phones switched on and off, API commands, directory changes, end of the run.

use std::time::Duration;

use media::MediaEvent;
use model::{Cause, Change};
use switch::{CallsOf, Command, Input, Originate, RecordingAction, Reply, SettingChange};

use super::{ATTACKER, SimEvent, World, peer};
use crate::carriers;
use crate::phone::PhoneOutput;
use crate::rng_ext::RngExt;
use crate::site::Site;
use crate::worker::Worker;

impl World {
    pub(super) fn power_on(&mut self, n: usize) {
        if self.closed || self.phones[n].powered {
            return;
        }
        self.note(format!("phone {n} powered on"));
        if self.phones[n].transport.is_reliable() {
            self.new_flow(n);
        }
        self.phones[n].power_on(self.now);
    }

    pub(super) fn power_off(&mut self, n: usize) {
        if !self.phones[n].powered {
            return;
        }
        self.note(format!("phone {n} powered off"));
        self.oracle.count("phones powered off");
        self.oracle.forget_binding(n);
        self.phones[n].power_off();
        if self.phones[n].transport.is_reliable() && self.rng.odds(60) {
            let (epoch, flow) = (self.epoch, self.flows[n]);
            self.schedule_within(0, 3000, SimEvent::FlowClosed(epoch, flow));
        }
        self.schedule_within(5000, 60_000, SimEvent::PowerOn(n));
    }

    pub(super) fn user_action(&mut self) {
        if self.closed {
            return;
        }
        self.schedule_within(500, 12_000, SimEvent::UserAction);
        if self.switch.is_none() {
            return;
        }
        if !self.trunks.is_empty() {
            match self.rng.below(8) {
                0 => return self.test_a_trunk(),
                1 | 2 => return self.check_channels(),
                _ => {}
            }
        }
        match self.rng.below(20) {
            0..6 => self.originate(),
            6..9 => self.end_some_call(),
            9 => {
                let force = self.rng.odds(50);
                self.command(Command::Stop { force });
                self.schedule_within(10, 50_000, SimEvent::StartSwitch);
            }
            10 => {
                let usernames = self.site.usernames().to_vec();
                let asked = usernames.len();
                if let Some(Reply::Presence(answers)) = self.command(Command::Presence { usernames })
                    && answers.len() != asked
                {
                    self.oracle.violation("presence of other users than requested");
                }
            }
            11 | 12 => self.show_a_call(),
            13 => {
                if let Some(stream) = self.worker.any_stream() {
                    let event = if self.rng.odds(50) {
                        MediaEvent::RtpTimeout { stream }
                    } else {
                        MediaEvent::Digit { stream, digit: '5', millis: 120 }
                    };
                    self.feed(Input::Media(event));
                }
            }
            14 => self.record_a_call(),
            15 if self.rng.odds(25) => self.fail_worker(),
            _ => {
                if let Some(Reply::Status(status)) = self.command(Command::Status) {
                    self.oracle.check_status(&status);
                }
            }
        }
    }

    /// The media worker fails, and another one follows. The switch first gets the events that were under way; commands until it is told have no
    /// effect.
    fn fail_worker(&mut self) {
        self.note("the media worker fails".into());
        self.oracle.count("media workers failed");
        let (epoch, final_events) = (self.epoch, self.worker.fail());
        let of_this_process = |event: &SimEvent| matches!(event, SimEvent::FromMedia(of, _) if *of == epoch);
        let said: Vec<SimEvent> =
            self.queue.extract_if(.., |_, event| of_this_process(event)).map(|(_, said)| said).collect();
        for event in said {
            self.on_event(event);
        }
        if epoch != self.epoch || self.switch.is_none() {
            return; // the process crashed on one of them, and its worker with it
        }
        self.worker.restart();
        let ports = (0..Worker::LISTENERS).map(|listener| Worker::offer(listener, self.ports));
        let told = [MediaEvent::WorkerGone { worker: 0 }]
            .into_iter()
            .chain(final_events)
            .chain(ports.collect::<Vec<_>>());
        for event in told {
            self.on_event(SimEvent::FromMedia(epoch, event));
        }
    }

    fn originate(&mut self) {
        let user = self.site.user(&mut self.rng);
        let from = match self.rng.below(3) {
            0 => None,
            1 => Some(self.rng.pick(&["1001", "1002", "1003", "+34600000000"]).to_string()),
            _ => Some(self.rng.pick(self.site.usernames()).to_string()),
        };
        let device =
            if self.rng.odds(25) { Some(self.rng.pick(self.site.usernames()).clone()) } else { None };
        let to = self.rng.pick(&Site::numbers()).clone();
        let originate = Originate {
            user,
            from,
            device,
            to,
            ring_timeout: Duration::from_secs(1 + self.rng.below(40)),
            require_device: self.rng.odds(40),
            planned: None,
        };
        match self.command(Command::Originate(originate)) {
            Some(Reply::Call(_)) => self.oracle.count("originated"),
            Some(Reply::Refused(_)) => self.oracle.count("not originated"),
            other => self.oracle.violation(format!("originate was answered {other:?}")),
        }
    }

    fn some_call(&mut self) -> Option<model::CallId> {
        let listed = Command::Calls { of: CallsOf::Everybody, after: None, limit: 100 };
        match self.command(listed) {
            Some(Reply::Calls(calls)) if !calls.is_empty() => Some(self.rng.pick(&calls).id.clone()),
            Some(Reply::Calls(_)) => None,
            other => {
                self.oracle.violation(format!("calls were answered {other:?}"));
                None
            }
        }
    }

    fn end_some_call(&mut self) {
        let Some(call) = self.some_call() else { return };
        match self.command(Command::End { call }) {
            Some(Reply::Call(record)) if record.status.is_final() => self.oracle.count("ended over the API"),
            other => self.oracle.violation(format!("end of a live call was answered {other:?}")),
        }
    }

    fn show_a_call(&mut self) {
        let Some(call) = self.some_call() else { return };
        match self.command(Command::Show { call: call.clone() }) {
            Some(Reply::Call(record)) if record.id == call => {}
            other => self.oracle.violation(format!("show of a live call was answered {other:?}")),
        }
        match self.command(Command::Ladder { call }) {
            Some(Reply::Ladder(_)) => {}
            other => self.oracle.violation(format!("ladder of a live call was answered {other:?}")),
        }
    }

    fn record_a_call(&mut self) {
        use RecordingAction::{Pause, Resume, Show, Start, Stop};
        let Some(call) = self.some_call() else { return };
        for _ in 0..=self.rng.below(3) {
            let action = *self.rng.pick(&[Start, Start, Start, Stop, Pause, Resume, Show]);
            match self.command(Command::Recording { call: call.clone(), action }) {
                Some(Reply::Recording(view)) if view.as_ref().is_none_or(|v| v.recording.call == call) => {}
                // The phone negotiated a codec other than G.711.
                Some(Reply::Refused(Cause::CodecNotRecordable)) if action == Start => {}
                other => self.oracle.violation(format!("{action:?} of a recording was answered {other:?}")),
            }
        }
    }

    pub(super) fn start_switch(&mut self) {
        self.command(Command::Start);
    }

    pub(super) fn admin_change(&mut self) {
        if !self.trunks.is_empty() && self.rng.odds(60) {
            let n = self.rng.below(self.trunks.len() as u64) as usize;
            let change = carriers::change_trunk(&mut self.trunks[n], &mut self.rng);
            return self.change(vec![change]);
        }
        let (changes, username) = self.site.admin_change(&mut self.rng);
        self.note(format!("directory: {changes:?}"));
        for (n, phone) in self.phones.iter().enumerate() {
            if username.ends_with(&phone.account.user) || *phone.account.user == *username {
                self.oracle.on_account_changed(n);
            }
        }
        let directory = Box::new(self.site.directory.clone());
        self.feed(Input::Directory { directory, changes: changes.into() });
    }

    /// The database and the switch's directory have the setting before the switch reports it to the phone.
    pub(super) fn on_setting_stored(&mut self, token: u64, change: &SettingChange, done: bool) {
        let written = if done { self.site.apply_setting(change) } else { None };
        let done = written.is_some();
        if let Some(change) = written {
            self.note(format!("dialled: {change:?}"));
            let directory = Box::new(self.site.directory.clone());
            self.feed(Input::Directory { directory, changes: [change].into() });
        }
        self.feed(Input::SettingChanged { token, done });
    }

    fn change(&mut self, changes: Vec<Change>) {
        self.note(format!("directory: {changes:?}"));
        for change in &changes {
            self.site.directory.apply(change.clone());
        }
        let directory = Box::new(self.site.directory.clone());
        self.feed(Input::Directory { directory, changes: changes.into() });
    }

    /// All calls have ended: no trunk channel is in use; then the trunks are removed.
    pub(super) fn remove_trunks(&mut self) {
        self.check_channels();
        let gone = self.trunks.drain(..).map(|trunk| Change::TrunkGone(trunk.id)).collect();
        self.change(gone);
    }

    /// Without active calls no trunk channel is in use.
    fn check_channels(&mut self) {
        let Some(Reply::Status(status)) = self.command(Command::Status) else { return };
        let Some(Reply::Trunks(trunks)) = self.command(Command::Trunks) else { return };
        let channels: u32 = trunks.iter().map(|trunk| trunk.calls).sum();
        if status.active_calls == 0 && channels != 0 {
            self.oracle.violation(format!("{channels} trunk channels are in use without active calls"));
        }
        if channels > 0 {
            self.oracle.count("trunk channels seen in use");
        }
    }

    fn test_a_trunk(&mut self) {
        let trunk = self.rng.pick(&self.trunks).id.clone();
        let user = self.site.user(&mut self.rng);
        let number = self.rng.pick(&carriers::numbers()).clone();
        let patience = self.rng.millis(1000, 45_000);
        match self.command(Command::TestCall { trunk, user, number, patience }) {
            Some(Reply::Call(call)) => match self.command(Command::Tested { call: call.id }) {
                Some(Reply::TestCall(_)) => self.oracle.count("trunks tested"),
                other => self.oracle.violation(format!("a test call was answered {other:?}")),
            },
            Some(Reply::Refused(_)) => self.oracle.count("trunks not tested"),
            other => self.oracle.violation(format!("a test of a trunk was answered {other:?}")),
        }
    }

    pub(super) fn jump_wall_clock(&mut self) {
        self.steady_clock = false;
        let hours = self.rng.below(5) as i64 - 2;
        self.wall_offset += hours * 3_600_000_000 + self.rng.below(60_000_000) as i64;
        self.note(format!("the wall clock jumps by about {hours} hours"));
    }

    pub(super) fn attacker_sends(&mut self) {
        if self.closed {
            return;
        }
        let bytes = self.attacker.next_datagram();
        self.datagram_from(peer(ATTACKER), bytes);
        let pause = *self.rng.pick(&[50, 500, 20_000]);
        self.schedule_within(0, pause, SimEvent::AttackerSends);
    }

    pub(super) fn end_run(&mut self) {
        self.note("end of the run".into());
        self.closed = true;
        if !self.trunks.is_empty() {
            self.schedule_within(600_000, 600_000, SimEvent::RemoveTrunks);
        }
        for n in 0..self.phones.len() {
            let mut said = PhoneOutput::default();
            self.phones[n].close(self.now, &mut said);
            self.send_from_phone(n, said);
        }
    }
}
