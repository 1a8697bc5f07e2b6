// Kernels under test pick their own tunings, whatever this machine has measured.
process.env.MICROMIND_TUNE ??= "off";
