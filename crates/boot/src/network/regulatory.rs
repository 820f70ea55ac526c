//! Which country's rules the kernel holds its radios to: nl80211, over generic netlink (`linux/nl80211.h`).
//!
//! The kernel takes a wish at once and acts on it a moment later, or never if it does not know the country; so the rules in
//! force are read back. A radio in a network that names a country of its own is held to both.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use netconf::{Country, NotJoined};
use nix::sys::{
    socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, connect, recv, send, setsockopt,
        socket, sockopt,
    },
    time::TimeVal,
};

use crate::console::note;

/// For the kernel to read its table of countries.
const TAKEN: Duration = Duration::from_secs(5);
const GLANCE: Duration = Duration::from_millis(100);
/// What the kernel calls the rules of two countries at once.
const BOTH: &str = "98";

const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const ERROR: u16 = 2;
/// The family that knows the others' numbers.
const CONTROL: u16 = 16;
const GET_FAMILY: (u8, u8) = (3, 1);
const FAMILY_NUMBER: u16 = 1;
const FAMILY_NAME: u16 = 2;
const ASK_FOR_RULES: (u8, u8) = (27, 0);
const GET_RULES: (u8, u8) = (31, 0);
const COUNTRY: u16 = 33;

/// Has the kernel hold its radios to the rules of a country.
pub(super) fn set(country: Country) -> Result<(), NotJoined> {
    let told = Kernel::open().and_then(|kernel| {
        let text = [country.as_str().as_bytes(), b"\0"].concat();
        kernel.ask(kernel.radios, REQUEST | ACKNOWLEDGE, ASK_FOR_RULES, &[(COUNTRY, &text)])?;
        let end = Instant::now() + TAKEN;
        loop {
            let now = kernel.rules()?;
            if now == country.as_str() || now == BOTH || Instant::now() > end {
                return Ok(now);
            }
            thread::sleep(GLANCE);
        }
    });
    match told {
        Ok(now) if now == country.as_str() || now == BOTH => {
            note(&format!("network: the radios are held to the rules of {country} ({now})"));
            Ok(())
        }
        Ok(now) => {
            note(&format!("network: the kernel does not take the rules of {country}, and keeps those of {now}"));
            Err(NotJoined::Country)
        }
        // Without a radio the kernel has no rules for any.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(NotJoined::NoRadio),
        Err(error) => {
            note(&format!("network: the kernel cannot be told a country: {error}"));
            Err(NotJoined::Country)
        }
    }
}

/// A way to the kernel's radios.
struct Kernel {
    socket: OwnedFd,
    /// The number of nl80211's family.
    radios: u16,
}

impl Kernel {
    fn open() -> io::Result<Self> {
        let family = AddressFamily::Netlink;
        let socket = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkGeneric)?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(5, 0))?;
        connect(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        let mut kernel = Self { socket, radios: 0 };
        kernel.radios = kernel.family("nl80211")?;
        Ok(kernel)
    }

    fn family(&self, name: &str) -> io::Result<u16> {
        let text = [name.as_bytes(), b"\0"].concat();
        let told = self.ask(CONTROL, REQUEST, GET_FAMILY, &[(FAMILY_NAME, &text)])?;
        let number = find(&told, FAMILY_NUMBER).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
        number.ok_or_else(odd)
    }

    /// The letters of the rules in force.
    fn rules(&self) -> io::Result<String> {
        let told = self.ask(self.radios, REQUEST, GET_RULES, &[])?;
        let letters = find(&told, COUNTRY).ok_or_else(odd)?;
        Ok(String::from_utf8_lossy(letters).trim_end_matches('\0').to_owned())
    }

    /// The attributes of the answer; none of a mere yes.
    fn ask(&self, family: u16, flags: u16, call: (u8, u8), attributes: &[(u16, &[u8])]) -> io::Result<Vec<u8>> {
        send(self.socket.as_raw_fd(), &question(family, flags, call, attributes), MsgFlags::empty())?;
        let mut answer = vec![0; 64 * 1024];
        let length = recv(self.socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        read(answer.get(..length).unwrap_or_default())
    }
}

fn odd() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer is not understood")
}

/// Netlink's header, generic netlink's, and the attributes; all in the machine's own order of bytes.
fn question(family: u16, flags: u16, (command, version): (u8, u8), attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut message = vec![0; 4];
    message.extend(family.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    // One question at a time needs no number, and the kernel fills in who asks.
    message.extend([0; 8]);
    message.extend([command, version, 0, 0]);
    for (kind, value) in attributes {
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        message.extend(length.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(*value);
        message.resize(message.len().next_multiple_of(4), 0);
    }
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    message[..4].copy_from_slice(&length.to_ne_bytes());
    message
}

/// The attributes of the first message.
fn read(answer: &[u8]) -> io::Result<Vec<u8>> {
    let length = answer.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes)).ok_or_else(odd)?;
    let message = usize::try_from(length).ok().and_then(|length| answer.get(..length)).ok_or_else(odd)?;
    let kind = message.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes).ok_or_else(odd)?;
    if kind != ERROR {
        return message.get(20..).map(<[u8]>::to_vec).ok_or_else(odd);
    }
    match message.get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes).ok_or_else(odd)? {
        0 => Ok(Vec::new()),
        negative => Err(io::Error::from_raw_os_error(negative.saturating_neg())),
    }
}

fn find(attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut rest = attributes;
    while let [one, two, three, four, ..] = *rest {
        let (length, kind) = (usize::from(u16::from_ne_bytes([one, two])), u16::from_ne_bytes([three, four]));
        let value = rest.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_question_has_headers_and_padded_attributes() {
        let asked = question(0x1c, REQUEST | ACKNOWLEDGE, ASK_FOR_RULES, &[(COUNTRY, b"DE\0")]);
        let expected = [
            &28_u32.to_ne_bytes()[..],
            &0x1c_u16.to_ne_bytes(),
            &5_u16.to_ne_bytes(),
            &[0; 8],
            &[27, 0, 0, 0],
            &7_u16.to_ne_bytes(),
            &33_u16.to_ne_bytes(),
            b"DE\0\0",
        ];
        assert_eq!(asked, expected.concat());
        assert_eq!(find(&asked[20..], COUNTRY), Some(&b"DE\0"[..]));
    }

    #[test]
    fn an_error_of_the_kernel_is_one_here() {
        let answer = |error: i32| {
            [&36_u32.to_ne_bytes()[..], &ERROR.to_ne_bytes(), &[0; 10], &error.to_ne_bytes(), &[0; 16]].concat()
        };
        assert_eq!(read(&answer(0)).unwrap(), [0; 0]);
        assert_eq!(read(&answer(-1)).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(read(&answer(-2)).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(read(&[]).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn the_kernel_of_this_machine_understands_the_question() {
        // Radios or none: its own family is always there, under a number that never changes.
        let socket =
            socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkGeneric)
                .unwrap();
        connect(socket.as_raw_fd(), &NetlinkAddr::new(0, 0)).unwrap();
        let kernel = Kernel { socket, radios: 0 };
        assert_eq!(kernel.family("nlctrl").unwrap(), CONTROL);
        assert_eq!(kernel.family("no-such-family").unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_fall_over(bytes in prop::collection::vec(any::<u8>(), 0..80), wanted in 0_u16..40) {
            if let Ok(attributes) = read(&bytes) {
                find(&attributes, wanted);
            }
            find(&bytes, wanted);
        }
    }
}
