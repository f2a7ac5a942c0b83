//! Layouts and signer groups.

use rstuf_tuf::{Bins, Layout, TopLevel};

use super::violation;
use crate::{
    Violation,
    proto::metadata::v1::{self as metadata, layout::Kind, signer_group::Role},
};

impl From<Layout> for metadata::Layout {
    fn from(layout: Layout) -> Self {
        let kind = match layout {
            Layout::Flat => Kind::Flat(metadata::layout::Flat {}),
            Layout::Succinct(bins) => Kind::SuccinctBins(metadata::layout::SuccinctBins { bins: bins.get() }),
            Layout::Prefix(bins) => Kind::PrefixBins(metadata::layout::PrefixBins { bins: bins.get() }),
        };
        Self { kind: Some(kind) }
    }
}

/// Reads a layout.
///
/// # Errors
/// The violation names `field`, or what is wrong within it.
pub fn layout(field: &str, message: Option<metadata::Layout>) -> Result<Layout, Violation> {
    let bins = |kind: &str, bins: u32| Bins::new(bins).map_err(violation(&format!("{field}.{kind}.bins")));
    match message.and_then(|message| message.kind) {
        Some(Kind::Flat(metadata::layout::Flat {})) => Ok(Layout::Flat),
        Some(Kind::SuccinctBins(it)) => Ok(Layout::Succinct(bins("succinct_bins", it.bins)?)),
        Some(Kind::PrefixBins(it)) => Ok(Layout::Prefix(bins("prefix_bins", it.bins)?)),
        None => Err(Violation {
            field: field.to_owned(),
            description: "nothing set, allowed are flat, succinct_bins and prefix_bins".to_owned(),
        }),
    }
}

/// The group whose signers sign `role`; none sign root online.
pub fn signer_group_message(role: TopLevel) -> metadata::SignerGroup {
    let role = match role {
        TopLevel::Root => Role::Unspecified,
        TopLevel::Targets => Role::Targets,
        TopLevel::Snapshot => Role::Snapshot,
        TopLevel::Timestamp => Role::Timestamp,
    };
    metadata::SignerGroup { role: role.into() }
}

/// Reads what a group signs.
///
/// # Errors
/// The violation names `field`.
pub fn signer_group(field: &str, message: Option<metadata::SignerGroup>) -> Result<TopLevel, Violation> {
    match message.unwrap_or_default().role() {
        Role::Targets => Ok(TopLevel::Targets),
        Role::Snapshot => Ok(TopLevel::Snapshot),
        Role::Timestamp => Ok(TopLevel::Timestamp),
        Role::Unspecified => Err(Violation {
            field: format!("{field}.role"),
            description: "not set, allowed are targets, snapshot and timestamp".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn layouts_and_groups_are_read_as_they_were_written() {
        for text in ["flat", "succinct:256", "prefix:16"] {
            let checked: Layout = text.parse().unwrap();
            assert_eq!(layout("layout", Some(checked.into())).unwrap(), checked);
        }
        for role in [TopLevel::Targets, TopLevel::Snapshot, TopLevel::Timestamp] {
            assert_eq!(signer_group("group", Some(signer_group_message(role))).unwrap(), role);
        }
    }

    #[test]
    fn what_is_no_layout_or_group_is_refused_by_its_field() {
        let of = |kind| Some(metadata::Layout { kind });
        let odd = |bins| Some(Kind::SuccinctBins(metadata::layout::SuccinctBins { bins }));
        for bins in [0, 1, 3, 32_768, u32::MAX] {
            assert_eq!(layout("layout", of(odd(bins))).unwrap_err().field, "layout.succinct_bins.bins");
        }
        let odd = Some(Kind::PrefixBins(metadata::layout::PrefixBins { bins: 7 }));
        assert_eq!(layout("layout", of(odd)).unwrap_err().field, "layout.prefix_bins.bins");
        assert!([None, of(None)].into_iter().all(|it| layout("layout", it).unwrap_err().field == "layout"));
        let unknown = Some(metadata::SignerGroup { role: 99 });
        assert!([None, unknown].into_iter().all(|it| signer_group("group", it).unwrap_err().field == "group.role"));
    }
}
