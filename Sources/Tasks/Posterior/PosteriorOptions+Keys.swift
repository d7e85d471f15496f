import AIPOSolvers

/// The table of what says how a posterior is sampled; what is sampled has keys of its own, ``ReconstructionTask``'s.
extension PosteriorOptions: KeyedSettings {
  public static let keys: [SettingKey<PosteriorOptions>] = [
    key(
      "sampler",
      """
      hmc: Hamiltonian dynamics; mala: its single step; mams: microcanonical dynamics; pcn: a walk that needs no gradient, \
      over latents; smc: particles that go from the prior to the posterior, which find the weights of several modes and \
      log p(y); smc-noise: the same along the prior's noise level, for models that know theirs. auto: hmc.
      """, "sampler", \.sampler, .choice()),
    key(
      "space", "Sample over pixels (x) or over latents (z). (default: z where the prior has latents)",
      "space",
      \.space, .choice()),
    key(
      "chains", "Chains, side by side, each from a draw of the prior.", "n", \.chains, .whole(1...1024)),
    key(
      "draws",
      """
      Draws of each chain, or particles of each run of smc or smc-noise. (default: \(usualDraws); \(usualParticles) \
      particles)
      """, "n", \.draws, .whole(1...100_000_000)),
    key(
      "warmup",
      "Draws of each chain before, in which step and mass are adapted, and which are thrown away.", "n",
      \.warmUp, .whole(0...100_000_000)),
    key(
      "thin", "Keep every n-th draw. Means and deviations are of all.", "n", \.thin, .whole(1...1_000_000)),
    key(
      "quantiles", "Probabilities of the quantiles, with commas.", "list", \.probabilities,
      SettingForm(
        expected: "", parse: { try probabilities($0) },
        store: { .string($0.map { "\($0)" }.joined(separator: ",")) })),
    key(
      "level", "Mass of the functionals' intervals.", "p", \.level,
      .number(.leastNonzeroMagnitude...1.0.nextDown, "a number between 0 and 1")),
    key(
      "exceeds", "The probability that a pixel is above this. (default: none)", "value", \.threshold,
      .number(-Double.greatestFiniteMagnitude...Double.greatestFiniteMagnitude, "a number")),
  ]
}
