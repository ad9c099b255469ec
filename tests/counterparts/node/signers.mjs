// Signs proofs with jose, dpop and oauth4webapi, sends them to the running service, and asks
// oauth4webapi's own verifier what it thinks of each. Arguments: the simulated platform, a service
// without nonces, a service that requires them. Answers one JSON list of rows on standard output.

import * as crypto from 'node:crypto'

import * as dpop from 'dpop'
import * as jose from 'jose'
import * as oauth from 'oauth4webapi'

const [platform, service, strict] = process.argv.slice(2)
const PATH = '/bff/backoffice/v1/bootstrap'
const AUDIENCE = 'bff-backoffice'
const text = new TextEncoder()
const now = () => Math.floor(Date.now() / 1000)
const b64 = (bytes) => jose.base64url.encode(bytes)
const b64json = (value) => b64(text.encode(JSON.stringify(value)))
const ath = (token) => b64(crypto.createHash('sha256').update(token).digest())

async function post(url, body) {
  const answer = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  if (!answer.ok) throw new Error(`${url}: ${answer.status} ${await answer.text()}`)
  return answer.json()
}

const world = await (await fetch(`${platform}/sim/world`)).json()

// A device, signed in. client_id is what oauth4webapi wants of every token.
async function device(pair) {
  const jwk = await jose.exportJWK(pair.publicKey)
  const grant = await post(`${platform}/sim/sign-in`, {
    tenantId: world.tenants[0].id,
    deviceJwk: jwk,
    claims: { client_id: 'desktop' },
  })
  return { ...pair, jwk, grant, token: grant.accessToken }
}

const pair = () => jose.generateKeyPair('ES256', { extractable: true })
const desk = await device(await pair())
const other = await device(await pair())

function claims(changes = {}) {
  const all = {
    jti: crypto.randomUUID(),
    htm: 'GET',
    htu: service + PATH,
    iat: now(),
    ath: ath(desk.token),
    ...changes,
  }
  for (const name of Object.keys(all)) if (all[name] === undefined) delete all[name]
  return all
}

// The signing is jose's, whatever the header says.
function sign(header, payload, key = desk.privateKey) {
  return new jose.CompactSign(text.encode(JSON.stringify(payload)))
    .setProtectedHeader(header)
    .sign(key)
}

const HEADER = { typ: 'dpop+jwt', alg: 'ES256', jwk: desk.jwk }
const good = (changes) => sign(HEADER, claims(changes))
const headed = (changes) => {
  const header = { ...HEADER, ...changes }
  for (const name of Object.keys(header)) if (header[name] === undefined) delete header[name]
  return sign(header, claims())
}

// What jose would not sign, signed by node's own crypto.
function signRaw(header, payload, key = desk.privateKey) {
  const signed = `${b64json(header)}.${b64json(payload)}`
  const signature = crypto.sign('sha256', text.encode(signed), {
    key: crypto.KeyObject.from(key),
    dsaEncoding: 'ieee-p1363',
  })
  return `${signed}.${b64(signature)}`
}

const ORDER = BigInt('0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551')

function withSignature(proof, change) {
  const [header, payload, signature] = proof.split('.')
  return `${header}.${payload}.${b64(change(Buffer.from(signature, 'base64url')))}`
}

// The same signature with the other of its two values for s.
function malleated(signature) {
  const s = ORDER - BigInt(`0x${signature.subarray(32).toString('hex')}`)
  return Buffer.concat([
    signature.subarray(0, 32),
    Buffer.from(s.toString(16).padStart(64, '0'), 'hex'),
  ])
}

async function otherAlgorithm(alg, options) {
  const { privateKey, publicKey } = await jose.generateKeyPair(alg, options)
  return sign({ typ: 'dpop+jwt', alg, jwk: await jose.exportJWK(publicKey) }, claims(), privateKey)
}

const secret = crypto.randomBytes(32)
const privateJwk = await jose.exportJWK(desk.privateKey)
const { kty, crv, x, y } = desk.jwk
const flip = (bytes, at) => (bytes[at] ^= 1, bytes)
const flipPart = async (part) => {
  const parts = (await good()).split('.')
  parts[part] = b64(flip(Buffer.from(parts[part], 'base64url'), 12))
  return parts.join('.')
}

// id, proof, what is expected: ok, proof (invalid_dpop_proof) or token (invalid_token).
const rows = [
  ['jose', good(), 'ok'],
  ['jose, 10 s ago', good({ iat: now() - 10 }), 'ok'],
  ['jose, 10 s ahead', good({ iat: now() + 10 }), 'ok'],
  ['jose, exp and nbf', good({ exp: now() + 60, nbf: now() - 1 }), 'ok'],
  ['jose, claims of others', good({ tx_id: 'x', nested: { a: [1] } }), 'ok'],
  ['jose, a nonce nobody asked for', good({ nonce: 'x' }), 'ok'],
  ['jose, header members of others', headed({ kid: 'k', tx_id: 'x' }), 'ok'],
  [
    'jose, WebCrypto export',
    headed({ jwk: { y, x, ext: true, key_ops: ['verify'], kty, crv, alg: 'ES256', use: 'sig' } }),
    'ok',
  ],
  ['jose, htu with query and fragment', good({ htu: `${service}${PATH}?a=b#c` }), 'ok'],
  ['jose, htu in other case', good({ htu: service.toUpperCase() + PATH }), 'ok'],
  ['jose, high or low s', good().then((it) => withSignature(it, malleated)), 'ok'],
  ['dpop', dpop.generateProof(desk, service + PATH, 'GET', undefined, desk.token), 'ok'],
  [
    'dpop, whole URL',
    dpop.generateProof(desk, `${service}${PATH}?a=b#c`, 'GET', undefined, desk.token),
    'ok',
  ],
  ['dpop, more', dpop.generateProof(desk, service + PATH, 'GET', 'x', desk.token, { a: 1 }), 'ok'],

  ['no typ', headed({ typ: undefined }), 'proof'],
  ['typ JWT', headed({ typ: 'JWT' }), 'proof'],
  ['typ at+jwt', headed({ typ: 'at+jwt' }), 'proof'],
  ['alg none', `${b64json({ ...HEADER, alg: 'none' })}.${b64json(claims())}.`, 'proof'],
  ['alg none, signed', signRaw({ ...HEADER, alg: 'none' }, claims()), 'proof'],
  ['alg HS256', sign({ ...HEADER, alg: 'HS256' }, claims(), secret), 'proof'],
  [
    'alg HS256 with an oct key',
    sign(
      { typ: 'dpop+jwt', alg: 'HS256', jwk: { kty: 'oct', k: b64(secret) } },
      claims(),
      secret,
    ),
    'proof',
  ],
  ['alg ES384', otherAlgorithm('ES384'), 'proof'],
  ['alg ES512', otherAlgorithm('ES512'), 'proof'],
  ['alg RS256', otherAlgorithm('RS256'), 'proof'],
  ['alg PS256', otherAlgorithm('PS256'), 'proof'],
  ['alg EdDSA', otherAlgorithm('EdDSA', { crv: 'Ed25519' }), 'proof'],
  ['alg in lower case', signRaw({ ...HEADER, alg: 'es256' }, claims()), 'proof'],
  ['no jwk', headed({ jwk: undefined }), 'proof'],
  ['kid only', headed({ jwk: undefined, kid: 'k' }), 'proof'],
  ['a private key in jwk', headed({ jwk: privateJwk }), 'proof'],
  ['jwk of another, which did not sign', headed({ jwk: other.jwk }), 'proof'],
  ['a key the token is not bound to', sign({ ...HEADER, jwk: other.jwk }, claims(), other.privateKey), 'token'],
  ['crit', signRaw({ ...HEADER, crit: ['zz'], zz: 1 }, claims()), 'proof'],
  ['crit b64', signRaw({ ...HEADER, crit: ['b64'], b64: false }, claims()), 'proof'],
  ['jti missing', good({ jti: undefined }), 'proof'],
  ['jti empty', good({ jti: '' }), 'proof'],
  ['jti number', good({ jti: 7 }), 'proof'],
  ['htm missing', good({ htm: undefined }), 'proof'],
  ['htm POST', good({ htm: 'POST' }), 'proof'],
  ['htm in lower case', good({ htm: 'get' }), 'proof'],
  ['htu missing', good({ htu: undefined }), 'proof'],
  ['htu elsewhere', good({ htu: `https://evil.example${PATH}` }), 'proof'],
  ['htu of another path', good({ htu: `${service}/bff/backoffice/v1/alerts` }), 'proof'],
  ['htu with a slash more', good({ htu: `${service}${PATH}/` }), 'proof'],
  ['htu relative', good({ htu: PATH }), 'proof'],
  ['iat missing', good({ iat: undefined }), 'proof'],
  ['iat long ago', good({ iat: now() - 400 }), 'proof'],
  ['iat far ahead', good({ iat: now() + 400 }), 'proof'],
  ['iat text', good({ iat: String(now()) }), 'proof'],
  ['iat in milliseconds', good({ iat: Date.now() }), 'proof'],
  ['exp long ago', good({ exp: now() - 400 }), 'proof'],
  ['nbf far ahead', good({ nbf: now() + 400 }), 'proof'],
  ['ath missing', good({ ath: undefined }), 'proof'],
  ['ath of another token', good({ ath: ath(other.token) }), 'proof'],
  ['ath padded', good({ ath: `${ath(desk.token)}=` }), 'proof'],
  ['a bit of the signature', flipPart(2), 'proof'],
  ['a bit of the payload', flipPart(1), 'proof'],
  ['s as zero', good().then((it) => withSignature(it, (raw) => raw.fill(0, 32))), 'proof'],
  ['r and s as zero', good().then((it) => withSignature(it, (raw) => raw.fill(0))), 'proof'],
  ['a short signature', good().then((it) => withSignature(it, (raw) => raw.subarray(1))), 'proof'],
  ['no signature', good().then((it) => withSignature(it, () => Buffer.alloc(0))), 'proof'],
  [
    'DER',
    (() => {
      const signed = `${b64json(HEADER)}.${b64json(claims())}`
      const key = crypto.KeyObject.from(desk.privateKey)
      return `${signed}.${b64(crypto.sign('sha256', text.encode(signed), key))}`
    })(),
    'proof',
  ],
  ['padded', good().then((it) => `${it}=`), 'proof'],
  ['four parts', good().then((it) => `${it}.e30`), 'proof'],
  ['two proofs', Promise.all([good(), good()]).then((it) => it.join(', ')), 'proof'],
]

const server = {
  issuer: 'https://iam.melmastoon.internal',
  jwks_uri: `${platform}/.well-known/jwks.json`,
}

function headers(proof) {
  return {
    authorization: `DPoP ${desk.token}`,
    dpop: proof,
    'x-device-id': desk.grant.deviceId,
    'x-app-version': '1.4.2',
    'x-app-platform': 'linux',
    'x-network-mode': 'good',
  }
}

async function oracle(proof) {
  const request = new Request(service + PATH, { headers: headers(proof) })
  try {
    await oauth.validateJwtAccessToken(server, request, AUDIENCE, {
      [oauth.allowInsecureRequests]: true,
      signingAlgorithms: ['ES256'],
    })
    return { accepts: true }
  } catch (error) {
    return { accepts: false, says: error.message }
  }
}

const results = []
for (const [id, signed, expected] of rows) {
  const proof = await signed
  const answer = await fetch(service + PATH, { headers: headers(proof) })
  const problem = answer.ok ? {} : await answer.json()
  results.push({
    id,
    expected,
    status: answer.status,
    code: problem.code ?? null,
    challenge: answer.headers.get('www-authenticate'),
    oracle: await oracle(proof),
  })
}

// oauth4webapi as a client: asked for a nonce, it retries by itself, once.
const client = { client_id: 'desktop' }
const keys = await oauth.generateKeyPair('ES256', { extractable: true })
const signed = await device(keys)
const handle = oauth.DPoP(client, keys)
const ask = () =>
  oauth.protectedResourceRequest(
    signed.token,
    'GET',
    new URL(strict + PATH),
    new Headers({
      'x-device-id': signed.grant.deviceId,
      'x-app-version': '1.4.2',
      'x-app-platform': 'linux',
      'x-network-mode': 'good',
    }),
    undefined,
    { DPoP: handle, [oauth.allowInsecureRequests]: true },
  )
let first
try {
  await ask()
  first = 'answered'
} catch (error) {
  first = oauth.isDPoPNonceError(error) ? 'asked for a nonce' : String(error)
}
const second = await ask()
results.push({
  id: 'oauth4webapi, with the nonce it was asked for',
  expected: 'ok',
  status: second.status,
  code: first,
  challenge: null,
  oracle: { accepts: true },
})
console.log(JSON.stringify(results))
