"""JavaScript guests: live slots that run any action whose memory image they are given."""
