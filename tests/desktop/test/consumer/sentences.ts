/** The state that nearly all of the pact's requests begin with. */
export const SIGNED_IN = "an operator is signed in on this desktop";
