// Proxy calls of every method through Nango's published client, against the Waypost that WAYPOST_URL names.
//
// The provider is a server of this file that tells what it got, reached by `baseUrlOverride`: the integration is told to
// let the token go there. One more test goes to the provider that Waypost itself is configured with.

import assert from 'node:assert/strict';
import http from 'node:http';
import { after, before, test } from 'node:test';
import zlib from 'node:zlib';

import { Nango } from '@nangohq/node';

const { WAYPOST_URL, WAYPOST_KEY, WAYPOST_TOKEN } = process.env;
const where = { providerConfigKey: 'graph-cc', connectionId: 'conn-1' };
const nango = new Nango({ host: WAYPOST_URL, secretKey: WAYPOST_KEY });

/** Answers to come, each a function of request, response and the request's body; what is usual is an echo. */
const script = [];
const got = [];
let baseUrlOverride;

const provider = http.createServer(async (request, response) => {
    const pieces = [];
    for await (const piece of request) {
        pieces.push(piece);
    }
    const body = Buffer.concat(pieces);
    const { method, url, headers } = request;
    got.push({ method, url, headers, body, at: Date.now() });
    const answer = script.shift() ?? echo;
    answer(request, response, body);
});

function echo(request, response, body) {
    const { method, url } = request;
    response.setHeader('content-type', 'application/json');
    response.setHeader('request-id', 'of-the-provider');
    response.end(JSON.stringify({ method, url, body: body.toString() }));
}

function answered(status, headers, body) {
    return (_request, response) => {
        response.writeHead(status, headers);
        response.end(body);
    };
}

before(async () => {
    await new Promise((listening) => provider.listen(0, '127.0.0.1', listening));
    const host = `127.0.0.1:${provider.address().port}`;
    baseUrlOverride = `http://${host}`;
    const answer = await fetch(`${WAYPOST_URL}/integrations/graph-cc`, {
        method: 'PATCH',
        headers: { authorization: `Bearer ${WAYPOST_KEY}`, 'content-type': 'application/json' },
        body: JSON.stringify({ integration_config: { proxy_token_hosts: [host] } })
    });
    assert.equal(answer.status, 200, await answer.text());
});

after(() => {
    provider.close();
    provider.closeAllConnections();
});

test('get carries path, params and headers, and the token in place of the key', async () => {
    const answer = await nango.get({
        ...where,
        baseUrlOverride,
        endpoint: '/v1.0/users/a%40b.example/messages',
        params: { $top: 5, $filter: "subject eq 'a b'" },
        headers: { Prefer: 'IdType="ImmutableId"', ConsistencyLevel: 'eventual' }
    });
    assert.equal(answer.status, 200);
    assert.equal(answer.data.method, 'GET');
    const url = new URL(answer.data.url, baseUrlOverride);
    assert.equal(url.pathname, '/v1.0/users/a%40b.example/messages');
    assert.equal(url.searchParams.get('$top'), '5');
    assert.equal(url.searchParams.get('$filter'), "subject eq 'a b'");
    assert.equal(answer.headers['request-id'], 'of-the-provider');
    const { headers } = got.at(-1);
    assert.equal(headers.authorization, `Bearer ${WAYPOST_TOKEN}`);
    assert.equal(headers.prefer, 'IdType="ImmutableId"');
    assert.equal(headers.consistencylevel, 'eventual');
    assert.ok(!JSON.stringify(headers).includes(WAYPOST_KEY));
    assert.deepEqual(Object.keys(headers).filter((name) => /nango|retries|connection-id/.test(name)), []);
});

for (const method of ['post', 'put', 'patch', 'delete']) {
    test(`${method} carries a JSON body`, async () => {
        const data = { subject: 'ä', nested: { list: [1, 2.5, null] } };
        const answer = await nango[method]({ ...where, baseUrlOverride, endpoint: 'v1.0/things/1', data });
        assert.equal(answer.data.method, method.toUpperCase());
        assert.equal(answer.data.url, '/v1.0/things/1');
        assert.deepEqual(JSON.parse(answer.data.body), data);
        assert.match(got.at(-1).headers['content-type'], /^application\/json/);
    });
}

test('proxy takes the method by name, and params as text', async () => {
    const answer = await nango.proxy({ ...where, baseUrlOverride, method: 'POST', endpoint: '/x', params: 'a=1&b=2' });
    assert.equal(answer.data.url, '/x?a=1&b=2');
    assert.equal(answer.data.method, 'POST');
});

test('a delete without a body and an answer without one', async () => {
    script.push(answered(204, {}));
    const answer = await nango.delete({ ...where, baseUrlOverride, endpoint: '/v1.0/things/1' });
    assert.equal(answer.status, 204);
    assert.equal(answer.data, '');
});

test('binary bodies and forms arrive byte for byte', async () => {
    const data = Buffer.from([0, 255, 137, 80, 78, 71, 13, 10]);
    const headers = { 'Content-Type': 'application/octet-stream' };
    await nango.put({ ...where, baseUrlOverride, endpoint: '/content', data, headers });
    assert.deepEqual(got.at(-1).body, data);
    assert.equal(got.at(-1).headers['content-type'], 'application/octet-stream');

    const form = new FormData();
    form.append('file', new Blob([data]), 'picture.png');
    await nango.post({ ...where, baseUrlOverride, endpoint: '/form', data: form });
    assert.match(got.at(-1).headers['content-type'], /^multipart\/form-data; ?boundary=/);
    assert.ok(got.at(-1).body.includes(data));
});

test('arraybuffer and stream give the bytes as they are', async () => {
    const bytes = Buffer.alloc(3_000_000, 'waypost\0');
    const download = () => answered(200, { 'content-type': 'image/png' }, bytes);
    script.push(download());
    const whole = await nango.get({ ...where, baseUrlOverride, endpoint: '/content', responseType: 'arraybuffer' });
    assert.ok(Buffer.from(whole.data).equals(bytes));
    assert.equal(whole.headers['content-type'], 'image/png');

    script.push(download());
    const streamed = await nango.get({ ...where, baseUrlOverride, endpoint: '/content', responseType: 'stream' });
    const pieces = [];
    for await (const piece of streamed.data) {
        pieces.push(piece);
    }
    assert.ok(Buffer.concat(pieces).equals(bytes));
});

test('retries wait as long as the provider asks, and retryOn adds to what is retried', async () => {
    script.push(answered(429, { 'retry-after': '1' }, '{}'));
    const first = got.length;
    const answer = await nango.get({ ...where, baseUrlOverride, endpoint: '/busy', retries: 1 });
    assert.equal(answer.status, 200);
    assert.equal(got.length, first + 2);
    assert.ok(got[first + 1].at - got[first].at >= 1000);

    script.push(answered(409, { 'retry-after': '1' }, '{}'));
    const retried = await nango.post({ ...where, baseUrlOverride, endpoint: '/busy', data: {}, retries: 2, retryOn: [409] });
    assert.equal(retried.status, 200);
});

test('a refusal of the provider comes back untouched', async () => {
    const body = { error: { code: 'ErrorItemNotFound', message: 'gone' } };
    script.push(answered(404, { 'content-type': 'application/json', 'x-told': 'yes' }, JSON.stringify(body)));
    await assert.rejects(nango.get({ ...where, baseUrlOverride, endpoint: '/x' }), ({ response }) => {
        assert.equal(response.status, 404);
        assert.deepEqual(response.data, body);
        assert.equal(response.headers['x-told'], 'yes');
        return true;
    });
});

test('decompress unpacks before the answer is passed on', async () => {
    const packed = zlib.gzipSync('{"packed":true}');
    const answer = () => answered(200, { 'content-type': 'application/json', 'content-encoding': 'gzip' }, packed);
    script.push(answer());
    const unpacked = await nango.get({ ...where, baseUrlOverride, endpoint: '/x', decompress: true });
    assert.deepEqual(unpacked.data, { packed: true });
    assert.equal(unpacked.headers['content-encoding'], undefined);
    script.push(answer());
    const passed = await nango.get({ ...where, baseUrlOverride, endpoint: '/x' });
    assert.deepEqual(passed.data, { packed: true });
});

test('an unknown connection or integration is told as Nango tells it', async () => {
    const told = (status, code) => ({ response }) => response.status === status && response.data.error.code === code;
    await assert.rejects(nango.get({ ...where, connectionId: 'nobody', endpoint: '/x' }), told(400, 'server_error'));
    await assert.rejects(
        nango.get({ ...where, providerConfigKey: 'nothing', endpoint: '/x' }),
        told(404, 'unknown_provider_config')
    );
    await assert.rejects(
        nango.get({ ...where, baseUrlOverride: 'https://elsewhere.example', endpoint: '/x' }),
        told(400, 'base_url_override_not_allowed')
    );
});

test('without an override the call goes to the provider that is configured', async () => {
    const answer = await nango.get({ ...where, endpoint: '/v1.0/me' });
    assert.equal(answer.status, 200);
    assert.equal(answer.data.value, 'from the provider');
});
