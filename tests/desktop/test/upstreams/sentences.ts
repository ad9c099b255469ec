/** The state that nearly all requests to an upstream begin with. */
export const SIGNED_IN = "an operator is signed in";
