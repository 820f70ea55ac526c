//! The far end of the box's second network cable: raw Ethernet frames, made and read by hand. It asks for the box's name
//! as phones do, and knocks on its doors from outside, without any network of this computer.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use homebolt::qemu::Wire;

use crate::report::{Outcome, ensure};

type Mac = [u8; 6];

/// Of the box's card, and of ours.
const BOX: Mac = [0x52, 0x54, 0x00, 0x68, 0x62, 0x02];
const OURS: Mac = [0x52, 0x54, 0x00, 0x68, 0x62, 0x99];
const OUR_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0x5054, 0x00ff, 0xfe68, 0x6299);
const OUR_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 77, 77);

const MDNS_PORT: u16 = 5353;
const MDNS_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
const MDNS_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// Record types of the DNS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Record {
    A = 1,
    Aaaa = 28,
}

/// What stands behind a door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// Somebody answers.
    Open,
    /// A plain no: nobody listens, nothing filters.
    Closed,
    /// No answer at all.
    Silent,
}

/// Our end of the cable.
#[derive(Debug)]
pub(crate) struct Tap {
    socket: UnixDatagram,
    machine: PathBuf,
}

impl Tap {
    /// Lays the cable; the machine is started afterwards with what [`Self::wire`] gives.
    pub(crate) fn open(folder: &Path) -> Outcome<Self> {
        let ours = folder.join("wire.peer");
        let _ = std::fs::remove_file(&ours);
        let socket = UnixDatagram::bind(&ours)?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        Ok(Self { socket, machine: folder.join("wire.box") })
    }

    /// The box's end.
    pub(crate) fn wire(folder: &Path) -> Wire {
        let mac = BOX.map(|byte| format!("{byte:02x}")).join(":");
        Wire { machine: folder.join("wire.box"), peer: folder.join("wire.peer"), mac }
    }

    /// Asks over multicast DNS for a name, over IPv6 or IPv4, and gathers the box's answers for that time.
    pub(crate) fn ask(&self, name: &str, record: Record, over_v6: bool, time: Duration) -> Outcome<Vec<IpAddr>> {
        let question = question(name, record);
        let frame = if over_v6 {
            let udp = udp(OUR_V6.into(), MDNS_V6.into(), MDNS_PORT, MDNS_PORT, &question);
            ethernet([0x33, 0x33, 0, 0, 0, 0xfb], IPV6, &ipv6(OUR_V6, MDNS_V6, UDP, &udp))
        } else {
            let udp = udp(OUR_V4.into(), MDNS_V4.into(), MDNS_PORT, MDNS_PORT, &question);
            ethernet([0x01, 0, 0x5e, 0, 0, 0xfb], IPV4, &ipv4(OUR_V4, MDNS_V4, UDP, &udp))
        };
        let end = Instant::now() + time;
        let (mut again, mut found) = (Instant::now(), Vec::new());
        while Instant::now() < end && found.is_empty() {
            if Instant::now() >= again {
                self.send(&frame)?;
                again = Instant::now() + Duration::from_secs(2);
            }
            let Some(frame) = self.receive()? else { continue };
            if let Some(Packet { protocol: UDP, payload, .. }) = packet(&frame)
                && payload.get(..2) == Some(&MDNS_PORT.to_be_bytes())
                && let Some(message) = payload.get(8..)
            {
                found.extend(answers(message, name, record));
            }
        }
        Ok(found)
    }

    /// Knocks on TCP ports of the box's link-local IPv6 address.
    pub(crate) fn knock(&self, address: Ipv6Addr, ports: &[u16], time: Duration) -> Outcome<BTreeMap<u16, Door>> {
        let mut doors: BTreeMap<u16, Door> = ports.iter().map(|port| (*port, Door::Silent)).collect();
        let end = Instant::now() + time;
        let mut again = Instant::now();
        while Instant::now() < end && doors.values().any(|door| *door == Door::Silent) {
            if Instant::now() >= again {
                for (port, _) in doors.iter().filter(|(_, door)| **door == Door::Silent) {
                    let packet = ipv6(OUR_V6, address, TCP, &tcp(address, from_port(*port), *port, 0x02));
                    self.send(&ethernet(BOX, IPV6, &packet))?;
                }
                again = Instant::now() + Duration::from_secs(2);
            }
            let Some(frame) = self.receive()? else { continue };
            let Some(Packet { protocol: TCP, payload, .. }) = packet(&frame) else { continue };
            let (Some(from), Some(flags)) = (word(&payload, 0), payload.get(13)) else { continue };
            if let Some(door) = doors.get_mut(&from).filter(|_| word(&payload, 2) == Some(from_port(from))) {
                *door = if flags & 0x04 != 0 { Door::Closed } else { Door::Open };
            }
        }
        Ok(doors)
    }

    /// The box's link-local IPv6 address, made from its card's number.
    pub(crate) fn box_address() -> Ipv6Addr {
        let [a, b, c, d, e, f] = BOX.map(u16::from);
        Ipv6Addr::new(0xfe80, 0, 0, 0, (a ^ 2) << 8 | b, c << 8 | 0xff, 0xfe00 | d, e << 8 | f)
    }

    fn send(&self, frame: &[u8]) -> Outcome {
        let sent = self.socket.send_to(frame, &self.machine)?;
        ensure!(sent == frame.len(), "only {sent} of {} bytes went over the wire", frame.len());
        Ok(())
    }

    /// The next frame of the box; answers it when the box looks for us.
    fn receive(&self) -> Outcome<Option<Vec<u8>>> {
        let mut frame = vec![0; 65_536];
        let length = match self.socket.recv(&mut frame) {
            Ok(length) => length,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        frame.truncate(length);
        if let Some(answer) = packet(&frame).and_then(|packet| neighbour(&packet)) {
            self.send(&answer)?;
        }
        Ok(Some(frame))
    }
}

/// From where we knock on a port: different for each, so that an answer is known by it.
fn from_port(port: u16) -> u16 {
    40_000 + port % 20_000
}

/// A packet as it came in a frame.
struct Packet {
    from: IpAddr,
    protocol: u8,
    payload: Vec<u8>,
}

fn packet(frame: &[u8]) -> Option<Packet> {
    let body = frame.get(14..)?;
    match word(frame, 12)? {
        IPV4 => {
            let header = usize::from(body.first()? & 0x0f) * 4;
            let length = usize::from(word(body, 2)?);
            let from: [u8; 4] = body.get(12..16)?.try_into().ok()?;
            Some(Packet { from: from.into(), protocol: *body.get(9)?, payload: body.get(header..length)?.to_vec() })
        }
        IPV6 => {
            let from: [u8; 16] = body.get(8..24)?.try_into().ok()?;
            let end = 40 + usize::from(word(body, 4)?);
            Some(Packet { from: from.into(), protocol: *body.get(6)?, payload: body.get(40..end)?.to_vec() })
        }
        _ => None,
    }
}

/// The answer to a neighbour solicitation (RFC 4861) for our address.
fn neighbour(packet: &Packet) -> Option<Vec<u8>> {
    let IpAddr::V6(from) = packet.from else { return None };
    let asked = packet.protocol == ICMPV6 && packet.payload.first() == Some(&135);
    if !asked || packet.payload.get(8..24)? != OUR_V6.octets() {
        return None;
    }
    // Advertisement, solicited and overriding, with our number as an option.
    let mut message = vec![136, 0, 0, 0, 0x60, 0, 0, 0];
    message.extend(OUR_V6.octets());
    message.extend([2, 1]);
    message.extend(OURS);
    let sum = checksum(OUR_V6.into(), from.into(), ICMPV6, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    Some(ethernet(BOX, IPV6, &ipv6(OUR_V6, from, ICMPV6, &message)))
}

fn ethernet(to: Mac, kind: u16, payload: &[u8]) -> Vec<u8> {
    [to.as_slice(), &OURS, &kind.to_be_bytes(), payload].concat()
}

fn ipv6(from: Ipv6Addr, to: Ipv6Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    // The hop limit that neighbours must have.
    packet.extend([protocol, 255]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(payload);
    packet
}

fn ipv4(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend((payload.len() as u16 + 20).to_be_bytes());
    packet.extend([0, 0, 0, 0, 255, protocol, 0, 0]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    let sum = fold(add(0, &packet));
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(payload);
    packet
}

fn udp(from: IpAddr, to: IpAddr, source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    for number in [source, destination, payload.len() as u16 + 8, 0] {
        datagram.extend(number.to_be_bytes());
    }
    datagram.extend(payload);
    let sum = checksum(from, to, UDP, &datagram);
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    datagram
}

/// A segment without data.
fn tcp(to: Ipv6Addr, source: u16, destination: u16, flags: u8) -> Vec<u8> {
    let mut segment = Vec::new();
    segment.extend(source.to_be_bytes());
    segment.extend(destination.to_be_bytes());
    segment.extend([0, 0, 0x77, 0x77, 0, 0, 0, 0, 5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
    let sum = checksum(OUR_V6.into(), to.into(), TCP, &segment);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    segment
}

/// The Internet's checksum over a pseudo header and a payload.
fn checksum(from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8]) -> u16 {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let sum = add(add(0, &octets(from)), &octets(to));
    match fold(add(sum + u32::from(protocol) + payload.len() as u32, payload)) {
        // In UDP 0 means 'none'.
        0 => 0xffff,
        sum => sum,
    }
}

fn add(sum: u32, bytes: &[u8]) -> u32 {
    bytes.chunks(2).fold(sum, |sum, pair| sum + u32::from(pair[0]) * 256 + u32::from(*pair.get(1).unwrap_or(&0)))
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn encoded(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes
}

fn question(name: &str, record: Record) -> Vec<u8> {
    let mut message = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message.extend(encoded(name));
    message.extend([0, record as u8, 0, 1]);
    message
}

/// The addresses that a DNS answer gives for a name.
fn answers(message: &[u8], name: &str, record: Record) -> Vec<IpAddr> {
    let read = || -> Option<Vec<IpAddr>> {
        let is_answer = message.get(2)? & 0x80 != 0;
        let count = |at| word(message, at).map(usize::from);
        let (questions, records) = (count(4)?, count(6)? + count(8)? + count(10)?);
        let (mut at, mut found) = (12, Vec::new());
        for _ in 0..questions {
            at = name_at(message, at)?.1 + 4;
        }
        for _ in 0..records {
            let (owner, after) = name_at(message, at)?;
            let (kind, length) = (word(message, after)?, usize::from(word(message, after + 8)?));
            let data = message.get(after + 10..after + 10 + length)?;
            at = after + 10 + length;
            if !owner.eq_ignore_ascii_case(name) || kind != record as u16 {
                continue;
            }
            match record {
                Record::A => found.push(IpAddr::from(<[u8; 4]>::try_from(data).ok()?)),
                Record::Aaaa => found.push(IpAddr::from(<[u8; 16]>::try_from(data).ok()?)),
            }
        }
        is_answer.then_some(found)
    };
    read().unwrap_or_default()
}

/// A name and where it ends; follows at most a few of the pointers that shorten names.
fn name_at(message: &[u8], start: usize) -> Option<(String, usize)> {
    let (mut at, mut end, mut labels) = (start, None, Vec::new());
    for _ in 0..64 {
        let length = usize::from(*message.get(at)?);
        match length {
            0 => return Some((labels.join("."), end.unwrap_or(at + 1))),
            0xc0.. => {
                end.get_or_insert(at + 2);
                at = usize::from(word(message, at)? & 0x3fff);
            }
            length => {
                labels.push(String::from_utf8_lossy(message.get(at + 1..at + 1 + length)?).into_owned());
                at += 1 + length;
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_book() {
        // RFC 1071's example bytes.
        assert_eq!(fold(add(0, &[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])), !0xddf2);
        // A packet with its checksum in place sums up to nothing.
        let packet = ipv4(OUR_V4, MDNS_V4, UDP, &[]);
        assert_eq!(fold(add(0, &packet)), 0);
        let datagram = udp(OUR_V6.into(), MDNS_V6.into(), 1, 2, b"odd");
        assert_eq!(checksum(OUR_V6.into(), MDNS_V6.into(), UDP, &datagram), 0xffff, "0, as UDP writes it");
    }

    #[test]
    fn an_answer_with_shortened_names_is_read() {
        let mut message = vec![0, 0, 0x84, 0, 0, 0, 0, 2, 0, 0, 0, 0];
        message.extend(encoded("homelab.local"));
        message.extend([0, 1, 0x80, 1, 0, 0, 0, 120, 0, 4, 169, 254, 1, 2]);
        message.extend([0xc0, 12, 0, 28, 0x80, 1, 0, 0, 0, 120, 0, 16]);
        message.extend(Tap::box_address().octets());
        assert_eq!(answers(&message, "homelab.local", Record::A), [IpAddr::from([169, 254, 1, 2])]);
        assert_eq!(answers(&message, "HomeLab.local", Record::Aaaa), [IpAddr::from(Tap::box_address())]);
        assert!(answers(&message, "other.local", Record::A).is_empty());
        assert!(answers(&message[..40], "homelab.local", Record::Aaaa).is_empty(), "cut off");
        message[2] = 0;
        assert!(answers(&message, "homelab.local", Record::A).is_empty(), "a question, not an answer");
        // A name that points to itself must not hang.
        assert_eq!(name_at(&[0xc0, 0], 0), None);
    }

    #[test]
    fn a_frame_is_taken_apart_as_it_was_put_together() {
        let datagram = udp(OUR_V4.into(), MDNS_V4.into(), 5, 6, b"hello");
        let frame = ethernet(BOX, IPV4, &ipv4(OUR_V4, MDNS_V4, UDP, &datagram));
        // Short frames are filled up on the wire.
        let packet = packet(&[frame, vec![0; 30]].concat()).unwrap();
        assert_eq!((packet.from, packet.protocol, packet.payload), (OUR_V4.into(), UDP, datagram));
    }

    #[test]
    fn the_box_s_question_for_us_is_answered() {
        let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
        message.extend(OUR_V6.octets());
        let asked = Packet { from: Tap::box_address().into(), protocol: ICMPV6, payload: message.clone() };
        let answer = packet(&neighbour(&asked).unwrap()).unwrap();
        assert_eq!(answer.payload[0], 136);
        assert_eq!(answer.payload[26..32], OURS);
        assert_eq!(checksum(OUR_V6.into(), Tap::box_address().into(), ICMPV6, &answer.payload), 0xffff);
        message[23] ^= 1;
        assert!(neighbour(&Packet { payload: message, ..asked }).is_none(), "somebody else is meant");
        assert_eq!(Tap::box_address().to_string(), "fe80::5054:ff:fe68:6202");
    }
}
