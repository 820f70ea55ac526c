//! Frames of ZMTP 3 (<https://rfc.zeromq.org/spec/23/>), as bytes.

/// The longest frame that is taken, bytes: a block has at most 4,000,000.
pub(super) const FRAME_LIMIT: u64 = 4_000_000;

pub(super) const GREETING: usize = 64;
const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

/// One frame, without its head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) command: bool,
    /// The message goes on.
    pub(super) more: bool,
    pub(super) body: Vec<u8>,
}

/// Takes the first frame off `buffer`, or nothing while it is not whole. Of a frame that is too long nothing is kept or
/// made room for.
pub(super) fn take(buffer: &mut Vec<u8>) -> Result<Option<Frame>, &'static str> {
    let Some(&flags) = buffer.first() else { return Ok(None) };
    if flags & !(MORE | LONG | COMMAND) != 0 || flags & (MORE | COMMAND) == MORE | COMMAND {
        return Err("a frame with impossible flags");
    }
    let (head, length) = if flags & LONG == 0 {
        let Some(&length) = buffer.get(1) else { return Ok(None) };
        (2, u64::from(length))
    } else {
        let Some(length) = buffer.get(1..9).and_then(|bytes| bytes.try_into().ok()) else { return Ok(None) };
        (9, u64::from_be_bytes(length))
    };
    if length > FRAME_LIMIT {
        return Err("a frame longer than any block");
    }
    let end = head + length as usize;
    if buffer.len() < end {
        return Ok(None);
    }
    let body = buffer[head..end].to_vec();
    buffer.drain(..end);
    Ok(Some(Frame { command: flags & COMMAND != 0, more: flags & MORE != 0, body }))
}

/// A short frame; `body` has at most 255 bytes.
pub(super) fn write(command: bool, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![if command { COMMAND } else { 0 }, body.len() as u8];
    frame.extend_from_slice(body);
    frame
}

/// Our greeting: version 3.0, no lock.
pub(super) fn greeting() -> [u8; GREETING] {
    let mut bytes = [0; GREETING];
    (bytes[0], bytes[9], bytes[10]) = (0xff, 0x7f, 3);
    bytes[12..16].copy_from_slice(b"NULL");
    bytes
}

/// What a peer's greeting says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Greeting {
    Welcome,
    /// It wants a key or a password.
    Locked(String),
    Strange(&'static str),
}

pub(super) fn read_greeting(bytes: &[u8; GREETING]) -> Greeting {
    if bytes[0] != 0xff || bytes[9] & 1 == 0 {
        return Greeting::Strange("it greets otherwise");
    }
    if bytes[10] < 3 {
        return Greeting::Strange("its version of the protocol is too old");
    }
    let mechanism: String =
        bytes[12..32].iter().take_while(|byte| byte.is_ascii_graphic()).map(|&byte| char::from(byte)).collect();
    if mechanism == "NULL" { Greeting::Welcome } else { Greeting::Locked(mechanism) }
}

/// Name of a command, and the rest.
pub(super) fn read_command(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = body.split_first()?;
    rest.split_at_checked(usize::from(length))
}

pub(super) fn ready() -> Vec<u8> {
    let mut body = b"\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB".to_vec();
    body.extend_from_slice(b"\x08Identity\x00\x00\x00\x00");
    write(true, &body)
}

/// `Socket-Type` among the properties of READY.
pub(super) fn socket_type(mut properties: &[u8]) -> Option<String> {
    loop {
        let (name, rest) = read_command(properties)?;
        let (length, rest) = rest.split_at_checked(4)?;
        let length = usize::try_from(u32::from_be_bytes(length.try_into().ok()?)).ok()?;
        let (value, rest) = rest.split_at_checked(length)?;
        if name.eq_ignore_ascii_case(b"Socket-Type") {
            return Some(
                value.iter().take(12).filter(|byte| byte.is_ascii_graphic()).map(|&b| char::from(b)).collect(),
            );
        }
        properties = rest;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn frames_come_whole_or_not_at_all() {
        let mut buffer = b"\x01\x03abc\x00\x01d".to_vec();
        let frame = |more, body: &[u8]| Frame { command: false, more, body: body.to_vec() };
        assert_eq!(take(&mut buffer), Ok(Some(frame(true, b"abc"))));
        assert_eq!(take(&mut buffer), Ok(Some(frame(false, b"d"))));
        assert_eq!(take(&mut buffer), Ok(None));
        let mut long = b"\x02\0\0\0\0\0\0\x01\x2c".to_vec();
        assert_eq!(take(&mut long), Ok(None));
        long.extend([7; 300]);
        assert_eq!(take(&mut long), Ok(Some(frame(false, &[7; 300]))));
    }

    #[test]
    fn a_length_that_no_block_has_is_refused_before_anything_is_made_room_for() {
        assert!(take(&mut b"\x02\x40\0\0\0\0\0\0\0".to_vec()).is_err());
        assert!(take(&mut b"\x02\xff\xff\xff\xff\xff\xff\xff\xff".to_vec()).is_err());
        assert!(take(&mut vec![8, 0]).is_err());
        assert!(take(&mut vec![5, 0]).is_err(), "a command has no second part");
    }

    #[test]
    fn greetings_of_others_are_told_apart() {
        let mut bytes = greeting();
        assert_eq!(read_greeting(&bytes), Greeting::Welcome);
        bytes[12..17].copy_from_slice(b"CURVE");
        assert_eq!(read_greeting(&bytes), Greeting::Locked("CURVE".into()));
        bytes[10] = 1;
        assert!(matches!(read_greeting(&bytes), Greeting::Strange(_)));
        assert!(matches!(read_greeting(&[b'H'; GREETING]), Greeting::Strange(_)));
    }

    #[test]
    fn the_kind_of_socket_is_found_among_the_properties() {
        let ready = ready();
        let (name, properties) = read_command(&ready[2..]).unwrap();
        assert_eq!((name, socket_type(properties).as_deref()), (&b"READY"[..], Some("SUB")));
        assert_eq!(socket_type(b"\x01a\0\0\0\x09x"), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(body in prop::collection::vec(any::<u8>(), 0..=255), command: bool) {
            let mut bytes = write(command, &body);
            prop_assert_eq!(take(&mut bytes), Ok(Some(Frame { command, more: false, body })));
            prop_assert!(bytes.is_empty());
        }

        #[test]
        fn no_bytes_make_the_decoder_fall_over_or_grow(mut bytes: Vec<u8>) {
            let (before, room) = (bytes.len(), bytes.capacity());
            while let Ok(Some(frame)) = take(&mut bytes) {
                prop_assert!(frame.body.len() < before);
                let _ = read_command(&frame.body).map(|(_, rest)| socket_type(rest));
            }
            prop_assert!(bytes.len() <= before && bytes.capacity() <= room);
        }

        #[test]
        fn where_the_bytes_are_cut_makes_no_difference(bytes in "[\\x00\\x01\\x02\\x04][\\x00-\\x05]{0,40}", cut in 0usize..40) {
            let bytes = bytes.into_bytes();
            let all = |pieces: &[&[u8]]| {
                let (mut buffer, mut frames) = (Vec::new(), Vec::new());
                for piece in pieces {
                    buffer.extend_from_slice(piece);
                    while let Ok(Some(frame)) = take(&mut buffer) {
                        frames.push(frame);
                    }
                }
                (frames, buffer)
            };
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            prop_assert_eq!(all(&[&bytes]), all(&[first, second]));
        }
    }
}
