# Before all files: what most tests restore is baked once, so that their standard error is empty.
setup_suite() {
	SUPERMACHINE_EMULATE=never timeout 120 "$SM" bake "oci:$IMAGES/busybox" > "$BATS_SUITE_TMPDIR/baked" || true
}
