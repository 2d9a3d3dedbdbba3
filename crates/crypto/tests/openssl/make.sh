#!/bin/sh
# Makes the vectors of this folder with the openssl command line, as Graph makes its notifications:
#   sh make.sh        (in this folder; every run makes new keys and so other files)
set -eu
openssl req -x509 -newkey rsa:2048 -nodes -sha256 -days 3650 -subj "/CN=Waypost test vector" \
  -keyout key.pem -out certificate.pem 2>/dev/null
openssl req -x509 -newkey rsa:1024 -nodes -sha256 -days 3650 -subj "/CN=Waypost test vector, too small" \
  -keyout /dev/null -out too-small.pem 2>/dev/null
openssl rsa -in key.pem -traditional -out key-pkcs1.pem 2>/dev/null
printf '%s' '{"@odata.context":"https://graph.example/$metadata#x","id":"1","subject":"Grüße, 世界","n":1.50}' > plaintext.json
key=$(openssl rand -hex 32)
iv=$(printf '%s' "$key" | cut -c1-32)
printf '%s' "$key" | xxd -r -p > symmetric.bin
# Wrapped as Graph does: OAEP with SHA-1, MGF1 with SHA-1, no label. And once as it does not: with SHA-256.
openssl pkeyutl -encrypt -certin -inkey certificate.pem -in symmetric.bin -out wrapped.bin \
  -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha1 -pkeyopt rsa_mgf1_md:sha1
openssl pkeyutl -encrypt -certin -inkey certificate.pem -in symmetric.bin -out wrapped-sha256.bin \
  -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256 -pkeyopt rsa_mgf1_md:sha256
openssl enc -aes-256-cbc -K "$key" -iv "$iv" -in plaintext.json -out data.bin
openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary data.bin > signature.bin
thumbprint=$(openssl x509 -in certificate.pem -outform der | openssl dgst -sha1 | sed 's/.* //' | tr a-f A-F)
b64() { base64 < "$1" | tr -d '\n'; }
printf '{\n  "dataKey": "%s",\n  "dataKeySha256": "%s",\n  "data": "%s",\n  "dataSignature": "%s",\n  "thumbprint": "%s",\n  "plaintext": "%s"\n}\n' \
  "$(b64 wrapped.bin)" "$(b64 wrapped-sha256.bin)" "$(b64 data.bin)" "$(b64 signature.bin)" "$thumbprint" "$(b64 plaintext.json)" > envelope.json
rm -f symmetric.bin wrapped.bin wrapped-sha256.bin data.bin signature.bin plaintext.json
