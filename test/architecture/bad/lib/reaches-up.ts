// A sample that must fail: lib imports nothing of ours.
import "#sidecar/main.ts";
