//! A dialog of a test phone.

use sip::{Contacts, HeaderName, Message};

use super::{Phone, TestSwitch};

/// State of the dialog.
#[derive(Clone, Debug)]
pub struct TestDialog {
    pub phone: Phone,
    pub call_id: String,
    /// From of the phone's requests, with tag.
    pub local: String,
    /// To of the phone's requests, with tag once it is known.
    pub remote: String,
    pub target: String,
    pub cseq: u32,
    /// The INVITE that opened the dialog.
    pub invite: Message,
}

pub fn contact_of(message: &Message) -> String {
    match message.contacts() {
        Ok(Contacts::List(list)) => list[0].uri.to_string(),
        other => panic!("no Contact: {other:?}"),
    }
}

impl TestSwitch {
    /// A phone calls: INVITE, challenge, INVITE with credentials. The responses are then in its inbox.
    pub fn call(&mut self, phone: &Phone, number: &str, sdp: Option<&str>) -> TestDialog {
        self.call_with(phone, number, sdp, "")
    }

    pub fn call_with(&mut self, phone: &Phone, number: &str, sdp: Option<&str>, lines: &str) -> TestDialog {
        let target = format!("sip:{}@localhost", number.replace('#', "%23"));
        let mut dialog = TestDialog {
            phone: phone.clone(),
            call_id: format!("call-{}", self.random_token()),
            local: format!("<sip:{}@localhost>;tag={}", phone.user, self.random_token()),
            remote: format!("<{target}>"),
            target: target.clone(),
            cseq: 1,
            invite: Message::parse(bytes::Bytes::from_static(
                b"OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\nFrom: <sip:a>;tag=1\r\n\
                  To: <sip:b>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n\r\n",
            ))
            .unwrap(),
        };
        self.invite(&mut dialog, lines, sdp);
        let challenge = self.last(phone);
        assert_eq!(challenge.status(), Some(401), "INVITE is challenged");
        self.ack_error(&dialog, &challenge);
        let authorization = self.authorization(phone, &challenge, "INVITE", &target);
        dialog.cseq += 1;
        self.invite(&mut dialog, &format!("{authorization}{lines}"), sdp);
        dialog
    }

    pub fn invite(&mut self, dialog: &mut TestDialog, lines: &str, sdp: Option<&str>) {
        let text = self.compose(dialog, "INVITE", dialog.cseq, lines, sdp);
        dialog.invite = Message::parse(text.clone().into()).unwrap();
        self.send_from(dialog.phone.address, text);
    }

    fn compose(
        &mut self,
        dialog: &TestDialog,
        method: &str,
        cseq: u32,
        lines: &str,
        sdp: Option<&str>,
    ) -> String {
        let branch = self.branch();
        write(dialog, method, cseq, &branch, lines, sdp)
    }

    pub fn ack_error(&mut self, dialog: &TestDialog, rejection: &Message) {
        let branch = String::from_utf8_lossy(&rejection.via().branch).into_owned();
        let to = rejection.header(HeaderName::To).unwrap().to_string();
        let ack = TestDialog { remote: to, ..dialog.clone() };
        self.send_from(dialog.phone.address, write(&ack, "ACK", rejection.cseq().number, &branch, "", None));
    }

    /// The caller has received 200: update the dialog, and send ACK.
    pub fn send_ack(&mut self, dialog: &mut TestDialog, ok: &Message, sdp: Option<&str>) {
        assert_eq!(ok.status(), Some(200));
        self.update_dialog(dialog, ok);
        let text = self.compose(dialog, "ACK", ok.cseq().number, "", sdp);
        self.send_from(dialog.phone.address, text);
    }

    /// Take the dialog's tag and remote target from a response.
    pub fn update_dialog(&mut self, dialog: &mut TestDialog, answer: &Message) {
        dialog.remote = answer.header(HeaderName::To).unwrap().to_string();
        dialog.target = contact_of(answer);
    }

    /// The dialog of an incoming call: the last message that the phone received is an INVITE.
    pub fn expect_invite(&mut self, phone: &Phone) -> TestDialog {
        let invite = self.last(phone);
        assert_eq!(invite.method().as_str(), "INVITE");
        let to = invite.header(HeaderName::To).unwrap();
        TestDialog {
            phone: phone.clone(),
            call_id: invite.call_id().into(),
            local: format!("{to};tag={}", self.random_token()),
            remote: invite.header(HeaderName::From).unwrap().into(),
            target: contact_of(&invite),
            cseq: 100,
            invite,
        }
    }

    /// Respond to the INVITE.
    pub fn answer(&mut self, dialog: &TestDialog, status: u16, sdp: Option<&str>) {
        self.respond(dialog, &dialog.invite.clone(), status, "", sdp);
    }

    /// Respond to a request with another Contact than the phone's own.
    pub fn respond_with_contact(
        &mut self,
        dialog: &TestDialog,
        request: &Message,
        status: u16,
        contact: &str,
    ) {
        let header = |name| request.header(name).unwrap().to_string();
        let text = format!(
            "SIP/2.0 {status} {phrase}\r\nVia: {via}\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {id}\r\nCSeq: {cseq}\r\n\
             Contact: {contact}\r\nContent-Length: 0\r\n\r\n",
            phrase = sip::reason_phrase(status),
            via = header(HeaderName::Via),
            from = header(HeaderName::From),
            to = dialog.local,
            id = header(HeaderName::CallId),
            cseq = header(HeaderName::CSeq),
        );
        self.send_from(dialog.phone.address, text);
    }

    /// Respond to a request in the dialog.
    pub fn respond(
        &mut self,
        dialog: &TestDialog,
        request: &Message,
        status: u16,
        lines: &str,
        sdp: Option<&str>,
    ) {
        let header = |name| request.header(name).unwrap().to_string();
        let body = sdp.unwrap_or_default();
        let kind = if sdp.is_some() { "Content-Type: application/sdp\r\n" } else { "" };
        let text = format!(
            "SIP/2.0 {status} {phrase}\r\nVia: {via}\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {id}\r\nCSeq: {cseq}\r\n\
             Contact: {contact}\r\nAllow: INVITE, ACK, BYE, CANCEL, UPDATE, PRACK, INFO\r\n{lines}{kind}\
             Content-Length: {length}\r\n\r\n{body}",
            phrase = sip::reason_phrase(status),
            via = header(HeaderName::Via),
            from = header(HeaderName::From),
            to = dialog.local,
            id = header(HeaderName::CallId),
            cseq = header(HeaderName::CSeq),
            contact = dialog.phone.contact(),
            length = body.len(),
        );
        self.send_from(dialog.phone.address, text);
    }

    /// A request in the dialog.
    pub fn in_dialog_request(
        &mut self,
        dialog: &mut TestDialog,
        method: &str,
        lines: &str,
        sdp: Option<&str>,
    ) {
        dialog.cseq += 1;
        let text = self.compose(dialog, method, dialog.cseq, lines, sdp);
        self.send_from(dialog.phone.address, text);
    }

    /// CANCEL of the INVITE.
    pub fn cancel(&mut self, dialog: &TestDialog) {
        let branch = String::from_utf8_lossy(&dialog.invite.via().branch).into_owned();
        self.send_from(
            dialog.phone.address,
            write(dialog, "CANCEL", dialog.invite.cseq().number, &branch, "", None),
        );
    }

    /// ACK of a 200 to our re-INVITE.
    pub fn ack_reinvite(&mut self, dialog: &TestDialog, ok: &Message, sdp: Option<&str>) {
        let text = self.compose(dialog, "ACK", ok.cseq().number, "", sdp);
        self.send_from(dialog.phone.address, text);
    }
}

fn write(
    dialog: &TestDialog,
    method: &str,
    cseq: u32,
    branch: &str,
    lines: &str,
    sdp: Option<&str>,
) -> String {
    let body = sdp.unwrap_or_default();
    let own = lines.contains("Content-Type:");
    let kind = if sdp.is_some() && !own { "Content-Type: application/sdp\r\n" } else { "" };
    format!(
        "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch={branch};rport\r\nMax-Forwards: 70\r\n\
         From: {local}\r\nTo: {remote}\r\nCall-ID: {id}\r\nCSeq: {cseq} {method}\r\nContact: {contact}\r\n\
         Allow: INVITE, ACK, BYE, CANCEL, UPDATE, PRACK, INFO\r\n{lines}{kind}Content-Length: {length}\r\n\r\n{body}",
        target = dialog.target,
        address = dialog.phone.address,
        local = dialog.local,
        remote = dialog.remote,
        id = dialog.call_id,
        contact = dialog.phone.contact(),
        length = body.len(),
    )
}
