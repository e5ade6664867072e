//! Decoding is total, and reads what the records of the object say.

use proptest::prelude::*;

use super::*;
use crate::input::Context;
use crate::tcp::TcpState;

const HZ: Hz = Hz(250);

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1200)) {
        let _ = event(&bytes, HZ);
        let _ = row(&bytes, HZ);
        let _ = peek(&bytes, &WakeFunctions::default(), HZ);
        let _ = own_sock(&bytes);
        let _ = accept_queue(&bytes, 0);
        let _ = wake_functions(&bytes);
    }

    #[test]
    fn records_of_the_right_size_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 960), kind in 0_u8..10, size in 0_usize..8) {
        bytes[16] = kind;
        let bytes = &bytes[..[24, 40, 56, 72, 80, 96, 112, 960][size]];
        let _ = event(bytes, Hz(0));
        let _ = row(bytes, Hz(0));
        let _ = peek(bytes, &WakeFunctions::default(), Hz(0));
    }
}

fn transition(flags: u16, states: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(7_u64.to_le_bytes());
    bytes.extend(0xffff_8881_0000_0000_u64.to_le_bytes());
    bytes.extend([1, 0]);
    bytes.extend(flags.to_le_bytes());
    bytes.extend(42_u32.to_le_bytes());
    bytes.extend(80_u16.to_le_bytes());
    bytes.extend(0_u16.to_le_bytes());
    bytes.extend(1234_u32.to_le_bytes());
    bytes.extend(1235_u32.to_le_bytes());
    bytes.extend(5_u32.to_le_bytes());
    bytes.extend(6_u32.to_le_bytes());
    bytes.extend([states, 3]);
    bytes.extend(104_u16.to_le_bytes());
    bytes
}

#[test]
fn a_transition_is_read() {
    use tcptrace_common::record::flag;
    let mut bytes = transition(flag::OWNED | flag::SEQUENCES | flag::HAS_FILE, 1 << 4 | 4);
    bytes.extend([127, 0, 0, 1, 0, 0, 0, 0]);
    let Ok(Raw::Transition(it)) = event(&bytes, HZ) else {
        panic!("not a transition");
    };
    assert_eq!(
        (it.from, it.to),
        (TcpState::Established, TcpState::FinWait1)
    );
    assert_eq!(it.key.local.to_string(), "127.0.0.1:80");
    assert_eq!(it.key.peer, Endpoint::default());
    assert_eq!((it.unread, it.unacked), (Some(5), Some(6)));
    assert_eq!(it.error, Some(104));
    assert!(it.file_released);
    assert!(matches!(
        it.context,
        Context::Process { exiting: false, .. }
    ));
}

#[test]
fn a_close_says_how_the_connection_was_used() {
    use tcptrace_common::record::flag;
    let mut bytes = transition(flag::OWNED | flag::SEQUENCES, 1 << 4 | 4);
    // Sent 1250 jiffies ago, received 1251 ago: 5 s; 3 segments in, 4 out.
    for word in [1250_u32, 1251, 3, 4] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend([127, 0, 0, 1, 127, 0, 0, 2]);
    let Ok(Raw::Transition(it)) = event(&bytes, HZ) else {
        panic!("not a transition");
    };
    assert_eq!(it.key.local.to_string(), "127.0.0.1:80");
    assert_eq!(
        it.usage,
        Some(crate::input::Usage {
            idle: Duration::from_secs(5),
            segments_in: 3,
            segments_out: 4,
        })
    );
    bytes[16] = 2;
    assert!(matches!(
        event(&bytes, HZ),
        Err(DecodeError::Length { kind: 2, len: 72 })
    ));
}

#[test]
fn a_child_names_its_listener_in_place_of_sequence_numbers() {
    use tcptrace_common::record::flag;
    let mut bytes = transition(flag::LISTENER, 3 << 4 | 1);
    bytes.extend([127, 0, 0, 1, 127, 0, 0, 1]);
    let Ok(Raw::Transition(it)) = event(&bytes, HZ) else {
        panic!("not a transition");
    };
    assert_eq!(it.listener, Some(SockAddress(6 << 32 | 5)));
    assert_eq!((it.unread, it.unacked), (None, None));
}

#[test]
fn a_drop_is_read() {
    use crate::input::{DropOutcome, Queue};
    let mut bytes = transition(0, 0);
    bytes[16] = 8;
    // The body begins with depth 1235 and limit 5; queue and outcome follow.
    bytes[40] = 0;
    bytes[41] = 1;
    bytes.extend([127, 0, 0, 1, 127, 0, 0, 2]);
    let Ok(Raw::QueueDrop(it)) = event(&bytes, HZ) else {
        panic!("not a drop");
    };
    assert_eq!((it.queue, it.outcome), (Queue::Syn, DropOutcome::Cookie));
    assert_eq!((it.depth, it.limit), (1235, 5));
    bytes[41] = 2;
    let wrong = DecodeError::Value { kind: 8, value: 2 };
    assert_eq!(event(&bytes, HZ), Err(wrong));
}

#[test]
fn mapped_addresses_are_ipv4() {
    use tcptrace_common::record::flag;
    let mut bytes = transition(flag::V6, 10 << 4 | 3);
    bytes.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1]);
    bytes.extend([0x20, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    let Ok(Raw::Transition(it)) = event(&bytes, HZ) else {
        panic!("not a transition");
    };
    assert_eq!(it.key.local.to_string(), "10.0.0.1:80");
    assert_eq!(it.key.peer.to_string(), "[2001::1]:*");
    assert_eq!(it.unread, None);
    assert_eq!(it.context, Context::Interrupt);
}

#[test]
fn what_is_not_a_record_is_said_so() {
    assert_eq!(event(&[], HZ), Err(DecodeError::Length { kind: 0, len: 0 }));
    assert_eq!(event(&[0; 56], HZ), Err(DecodeError::Kind(0)));
    let mut bytes = transition(0, 15);
    bytes.extend([0; 8]);
    assert_eq!(
        event(&bytes, HZ),
        Err(DecodeError::State { kind: 1, state: 0 })
    );
    bytes.push(0);
    assert_eq!(
        event(&bytes, HZ),
        Err(DecodeError::Length { kind: 1, len: 57 })
    );
}

#[test]
fn a_wait_queue_is_walked_and_a_torn_one_is_told() {
    let known = WakeFunctions {
        epoll: 0xe0,
        poll: 0xb0,
        read: 0xa0,
        accept: 0xac,
        data_ready: 0xd0,
        file_ref_bias: 1,
    };
    let answer = |prev_of_second: u64, last: u64| {
        let mut bytes = vec![0_u8; 960];
        let mut put =
            |at: usize, value: u64| bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        put(8, 0xffff_8881_0000_0000);
        put(120, 0xd0);
        put(136, 6 << 16 | 10);
        put(176, 0x10_000);
        put(184, last);
        let entry = |index: usize| 192 + index * 48;
        // node, prev, func, ready, waited_on, events
        let entries = [
            [0x20_000, 0x10_000, 0xe0, 1, 0, 0x2001],
            [0x30_000, prev_of_second, 0xb0, 0, 0, 0],
            [0x10_000, 0, 0, 0, 0, 0],
        ];
        for (index, fields) in entries.iter().enumerate() {
            for (field, value) in fields.iter().enumerate() {
                put(entry(index) + 8 * field, *value);
            }
        }
        bytes[72] = 8;
        peek(&bytes, &known, HZ)
    };
    let seen = answer(0x20_000, 0x30_000).unwrap().unwrap();
    assert!(!seen.special_reader);
    let waiters = seen.waiters.unwrap();
    assert_eq!(waiters.polling, 1);
    assert_eq!(waiters.epoll.len(), 1);
    assert!(waiters.epoll[0].ready && !waiters.epoll[0].waited_on);
    assert_eq!(waiters.epoll[0].events, 0x2001);
    assert_eq!(answer(0x40_000, 0x30_000).unwrap().unwrap().waiters, None);
    assert_eq!(answer(0x20_000, 0x40_000).unwrap().unwrap().waiters, None);
}
