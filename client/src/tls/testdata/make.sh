#!/bin/sh
# Makes the files in this directory with OpenSSL 3: one key, encrypted in the ways that operators meet.
set -e
openssl ecparam -name prime256v1 -genkey -noout -out plain.pem
for cipher in des3 aes128 aes192 aes256 camellia256; do
    openssl ec -in plain.pem -$cipher -passout pass:secret -out traditional-$cipher.pem
done
pkcs8() { name=$1; shift; openssl pkcs8 -topk8 -in plain.pem -passout pass:secret -out pkcs8-$name.pem "$@"; }
openssl pkcs8 -topk8 -nocrypt -in plain.pem -out pkcs8-plain.pem
pkcs8 aes256 -v2 aes-256-cbc
pkcs8 aes128-sha1 -v2 aes-128-cbc -v2prf hmacWithSHA1
pkcs8 des3 -v2 des3
pkcs8 scrypt -scrypt
pkcs8 pbes1 -v1 PBE-SHA1-3DES
openssl req -x509 -new -key plain.pem -subj /CN=test -days 36500 -out certificate.pem
