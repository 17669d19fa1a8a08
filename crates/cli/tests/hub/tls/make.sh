#!/bin/sh
# Makes an authority and the certificate of a server on 127.0.0.1 that it signed, for the tests only. The authority's key is not kept.
# usage: sh make.sh   (needs openssl; the tests read the files, not this)
set -e
cd "$(dirname "$0")"
key="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
# shellcheck disable=SC2086  # several words
openssl req -x509 $key -keyout ca.key -out ca.pem -days 36500 -subj "/CN=Peregrine's tests" \
    -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign"
# shellcheck disable=SC2086
openssl req $key -keyout server.key -out server.csr -subj "/CN=127.0.0.1"
printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n' >server.ext
openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 36500 -extfile server.ext -out server.pem
rm -f ca.key ca.srl server.csr server.ext
