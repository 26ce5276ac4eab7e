//! Sorts rows by their addresses without comparing addresses more often than needed.
//!
//! Comparing two addresses costs many times what comparing two integers does, and most daemons list most tables in an
//! order of their own. Rows are therefore sorted by an integer that rises with the address, and only rows that
//! have it in common are compared.

use std::cmp::Ordering;
use std::net::IpAddr;

/// An integer that never falls when `address` rises in the order of [`IpAddr`]. Exact for IPv4.
pub(crate) fn rank(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => (1 << 63) | (address.to_bits() >> 65) as u64,
    }
}

/// An integer that never falls when `address` rises, or when it stays and `other` rises.
pub(crate) fn rank_of_pair(address: IpAddr, other: IpAddr) -> u64 {
    match (address, other) {
        (IpAddr::V4(_), IpAddr::V4(_)) => (rank(address) << 31) | (rank(other) >> 1),
        // The greatest that the line above gives for this first address.
        (IpAddr::V4(_), IpAddr::V6(_)) => (rank(address) << 31) | ((1 << 31) - 1),
        (IpAddr::V6(_), _) => rank(address),
    }
}

/// Sorts `rows` by `order`, keeping rows that are equal in it in their order, and tells whether any are equal. `ranked`
/// must never fall when `order` rises.
pub(crate) fn sort<T>(
    rows: &mut [T],
    ranked: impl Fn(&T) -> u64,
    order: impl Fn(&T, &T) -> Ordering,
) -> bool {
    let mut equal = false;
    let mut last: Option<(u64, &T)> = None;
    let sorted = rows.iter().all(|row| {
        let rank = ranked(row);
        let risen = last.replace((rank, row)).map_or(Ordering::Less, |(last_rank, last)| {
            if last_rank == rank { order(last, row) } else { last_rank.cmp(&rank) }
        });
        equal |= risen.is_eq();
        risen.is_le()
    });
    if sorted {
        return equal;
    }
    rows.sort_by_cached_key(&ranked);
    for ties in rows.chunk_by_mut(|one, other| ranked(one) == ranked(other)) {
        if ties.len() > 1 {
            ties.sort_by(&order);
            equal |= ties.windows(2).any(|pair| order(&pair[0], &pair[1]).is_eq());
        }
    }
    equal
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn addresses() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            any::<u32>().prop_map(|bits| IpAddr::V4(bits.into())),
            (0u32..4).prop_map(|bits| IpAddr::V4(bits.into())),
            any::<u128>().prop_map(|bits| IpAddr::V6(bits.into())),
            (0u128..4).prop_map(|bits| IpAddr::V6(bits.into())),
        ]
    }

    proptest! {
        #[test]
        fn sorts_as_the_standard_library_does(
            pairs in prop::collection::vec((addresses(), addresses()), 0..40),
        ) {
            let mut expected = pairs.clone();
            expected.sort();
            let mut rows = pairs;
            let doubled = expected.windows(2).any(|pair| pair[0] == pair[1]);
            let equal = sort(&mut rows, |(one, other)| rank_of_pair(*one, *other), Ord::cmp);
            prop_assert_eq!(&rows, &expected);
            prop_assert!(equal == doubled);
            rows.reverse();
            let equal = sort(&mut rows, |(one, _)| rank(*one), Ord::cmp);
            prop_assert_eq!(&rows, &expected);
            prop_assert!(equal == doubled);
        }
    }
}
