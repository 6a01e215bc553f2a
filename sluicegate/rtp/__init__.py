"""RTP, RTCP and payload formats as compiled functions over byte arrays; no state, no I/O."""
