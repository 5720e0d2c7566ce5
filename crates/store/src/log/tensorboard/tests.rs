//! Event files as TensorBoard reads them, whole and after kills.

use super::*;

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn line(step: u64, loss: f32) -> MetricsLine {
    MetricsLine {
        step,
        update: 3,
        wall_time_s: 0.5,
        env_steps_per_s: 10.0,
        episodes: 0,
        episode_return: None,
        episode_length: None,
        simulator_warnings: 0,
        info: vec![("info/reward_ctrl".into(), -0.1)],
        metrics: vec![("q1_loss".into(), loss), ("temperature".into(), 2.0)],
    }
}

/// CRC-32C bit by bit, masked.
fn naive_checksum(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 * (crc & 1));
        }
    }
    let crc = u64::from(!crc);
    ((((crc >> 15) | (crc << 17)) + 0xa282_ead8) & 0xffff_ffff) as u32
}

/// The payloads of a file of records, with all checksums compared.
fn payloads(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut payloads = Vec::new();
    while !bytes.is_empty() {
        let (head, rest) = bytes.split_at(12);
        let length = u64::from_le_bytes(head[..8].try_into().expect("eight")) as usize;
        assert_eq!(head[8..], naive_checksum(&head[..8]).to_le_bytes());
        let (payload, rest) = rest.split_at(length);
        assert_eq!(rest[..4], naive_checksum(payload).to_le_bytes());
        payloads.push(payload.to_owned());
        bytes = &rest[4..];
    }
    payloads
}

/// The fields of a protobuf message, understood without `prost`: number and value as bytes (of a
/// varint: little-endian).
fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= u64::from(byte & 127) << shift;
            if byte < 128 {
                break;
            }
        }
        value
    }
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let length = match key & 7 {
            0 => {
                let value = varint(&mut bytes);
                fields.push((key >> 3, value.to_le_bytes().to_vec()));
                continue;
            }
            1 => 8,
            2 => varint(&mut bytes) as usize,
            5 => 4,
            kind => panic!("field of kind {kind}"),
        };
        fields.push((key >> 3, bytes[..length].to_vec()));
        bytes = &bytes[length..];
    }
    fields
}

/// What an event says: its step and the number of the field that says it, or its tags and values.
fn read(payload: &[u8]) -> (u64, String) {
    let (mut step, mut what) = (0, String::new());
    for (number, value) in fields(payload) {
        match number {
            1 => assert!(f64::from_le_bytes(value.try_into().expect("eight")) > 1e9),
            2 => step = u64::from_le_bytes(value.try_into().expect("eight")),
            3 => what = String::from_utf8(value).expect("text"),
            5 => {
                let scalars = fields(&value).into_iter().map(|(_, scalar)| {
                    let scalar = fields(&scalar);
                    let [(1, tag), (2, value)] = &scalar[..] else {
                        panic!("{scalar:?}");
                    };
                    let tag = String::from_utf8_lossy(tag);
                    let value = f32::from_le_bytes(value[..].try_into().expect("four"));
                    format!("{tag}={value}")
                });
                what = scalars.collect::<Vec<_>>().join(" ");
            }
            7 => {
                let expected = (1, 1u64.to_le_bytes().to_vec());
                assert_eq!(fields(&value), [expected], "START");
                what = "start".to_owned();
            }
            other => panic!("field {other}"),
        }
    }
    (step, what)
}

/// The events of all files in the order in which viewers read them.
fn events(run: &Path) -> Vec<(u64, String)> {
    let folder = run.join(TENSORBOARD);
    let names = event_files(&folder).expect("readable");
    let files = names.iter().map(|name| fs::read(folder.join(name)));
    let bytes: Vec<u8> = files.flat_map(|bytes| bytes.expect("readable")).collect();
    payloads(&bytes).iter().map(|bytes| read(bytes)).collect()
}

#[test]
fn checksums_are_those_of_known_vectors() {
    let mask = |crc: u32| crc.rotate_right(15).wrapping_add(0xa282_ead8);
    // RFC 3720, B.4; and the catalogue's check value.
    let ascending: Vec<u8> = (0..32).collect();
    for (bytes, crc) in [
        (&[0; 32][..], 0x8a91_36aa),
        (&[255; 32], 0x62a8_ab43),
        (&ascending, 0x46dd_794e),
        (b"123456789", 0xe306_9283),
    ] {
        assert_eq!(checksum(bytes), mask(crc));
        assert_eq!(naive_checksum(bytes), mask(crc));
    }
}

/// The beginning of a file that TensorFlow's own writer made.
#[test]
fn a_record_has_the_known_bytes() {
    let event = Event {
        wall_time: 1.0,
        step: 0,
        what: Some(What::FileVersion(FILE_VERSION.to_owned())),
    };
    let payload = event.encode_to_vec();
    let expected = b"\x09\0\0\0\0\0\0\xf0\x3f\x1a\x0dbrain.Event:2";
    assert_eq!(payload, expected);
    let record = record(&payload);
    let head = b"\x18\0\0\0\0\0\0\0\xa3\x7f\x4b\x22";
    assert_eq!(record, [head, &payload[..], b"\x86\xbf\x57\x7a"].concat());
}

#[test]
fn a_line_and_an_evaluation_are_read_back() {
    let folder = temporary();
    let run = folder.path();
    let mut log = EventLog::open(run, 0).expect("writable");
    log.metrics(&line(10, 0.1)).expect("writable");
    let row = EvalRow {
        step: 1 << 40,
        mean: -1.5,
        std: 0.0,
        returns: &[-1.5],
    };
    log.evaluation(row).expect("writable");
    log.metrics(&line(20, f32::INFINITY)).expect("writable");
    log.sync().expect("writable");
    let numbers = |loss| {
        let before = "time/env_steps_per_s=10 train/episodes=0 info/reward_ctrl=-0.1";
        let after = "train/simulator_warnings=0 metrics/temperature=2 time/update=3";
        format!("{before} loss/q1_loss={loss} {after} time/wall_time_s=0.5")
    };
    let expected = [
        (0, FILE_VERSION.to_owned()),
        (10, numbers("0.1")),
        (
            1 << 40,
            "eval/mean_return=-1.5 eval/std_return=0".to_owned(),
        ),
        (20, numbers("NaN")),
    ];
    let sorted = |(step, what): &(u64, String)| {
        let mut words: Vec<_> = what.split(' ').map(str::to_owned).collect();
        words.sort();
        (*step, words)
    };
    let found: Vec<_> = events(run).iter().map(sorted).collect();
    assert_eq!(found, expected.iter().map(sorted).collect::<Vec<_>>());
}

#[test]
fn a_file_of_a_run_that_goes_on_voids_and_repeats() {
    let folder = temporary();
    let run = folder.path();
    let lines = "{\"step\":10,\"update\":1}\n{\"step\":20,\"update\":2}\n";
    fs::write(run.join(METRICS), lines).expect("writable");
    let table = "step,mean_return,std_return\n10,1,0\n20,2,0\n";
    fs::write(run.join(crate::names::EVALUATIONS), table).expect("writable");
    let events_of = |step| {
        let before = events(run).len();
        EventLog::open(run, step).expect("writable");
        events(run).split_off(before)
    };
    let event = |step, what: &str| (step, what.to_owned());
    fs::create_dir(run.join(TENSORBOARD)).expect("writable");
    // Switched on on the way: everything so far.
    let all = [
        event(0, FILE_VERSION),
        event(10, "time/update=1"),
        event(20, "time/update=2"),
        event(10, "eval/mean_return=1 eval/std_return=0"),
        event(20, "eval/mean_return=2 eval/std_return=0"),
    ];
    assert_eq!(events_of(20), all);
    let last = [
        event(0, FILE_VERSION),
        event(20, "start"),
        event(20, "time/update=2"),
        event(20, "eval/mean_return=2 eval/std_return=0"),
    ];
    assert_eq!(events_of(20), last);
    assert_eq!(events_of(21), [event(0, FILE_VERSION), event(21, "start")]);
}

#[test]
fn names_are_in_the_order_of_their_making() {
    let mut names = Vec::new();
    // In the same second, and after a clock that is behind.
    for now in [1_700_000_000, 1_700_000_000, 5, 1_800_000_000] {
        names.push(next_name(&names, now));
    }
    assert!(names.is_sorted(), "{names:?}");
    assert!(names[0].starts_with("events.out.tfevents.1700000000."));
    assert!(names[2].starts_with("events.out.tfevents.1700000002."));
    assert!(names[3].ends_with(&format!(".{}.3", std::process::id())));
}
