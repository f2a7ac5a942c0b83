//! The test harness: whole systems, and judges that are not ours.
