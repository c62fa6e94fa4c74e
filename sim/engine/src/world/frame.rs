//! The frame in which a message crosses the simulated network when bits may flip: its bytes and a checksum. A receiver
//! whose decoder accepts a frame with a flipped bit would act on something that nobody said.

use serde::Serialize;
use serde::de::DeserializeOwned;
use squall_machine::Random;
use xxhash_rust::xxh3::xxh3_64;

const CHECKSUM_BYTES: usize = 8;

/// Why bytes are not a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Undecodable {
    Short,
    Checksum,
    Content,
}

pub(super) fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    let mut bytes = postcard::to_stdvec(message).expect("messages are plain data, which always encodes");
    bytes.extend_from_slice(&xxh3_64(&bytes).to_le_bytes());
    bytes
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Undecodable> {
    let Some(split) = bytes.len().checked_sub(CHECKSUM_BYTES) else {
        return Err(Undecodable::Short);
    };
    let (content, checksum) = bytes.split_at(split);
    if xxh3_64(content).to_le_bytes() != checksum {
        return Err(Undecodable::Checksum);
    }
    postcard::from_bytes(content).map_err(|_| Undecodable::Content)
}

/// Flips one drawn bit.
pub(super) fn flip(bytes: &mut [u8], random: &mut Random) {
    let bit = random.below(bytes.len() as u64 * 8);
    bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_back_whole_and_every_flipped_bit_is_noticed() {
        let message = (7u64, String::from("r3"), Some(-1i64));
        let bytes = encode(&message);
        assert_eq!(decode::<(u64, String, Option<i64>)>(&bytes), Ok(message));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode::<(u64, String, Option<i64>)>(&flipped), Err(Undecodable::Checksum), "bit {bit}");
        }
        assert_eq!(decode::<u8>(&bytes[..3]), Err(Undecodable::Short));
    }
}
