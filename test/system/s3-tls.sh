#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# How a bucket is reached: TLS with a CA of our own, client certificates, HTTP/2, IPv6, the bucket in the host's name,
# proxies; and the words for what is wrong.  nghttpx stands in front of the fake S3 server.
. "$(dirname "$0")/lib.sh"
for tool in curl jq openssl nghttpx; do command -v $tool >/dev/null || skip "$tool is missing: apt-get install openssl nghttp2-proxy"; done

start_fakes3
unset no_proxy NO_PROXY http_proxy https_proxy all_proxy
backend=${S3_ENDPOINT#http://127.0.0.1:}
of_fake() { control_fake ''; sed -n "s/^$1=//p" "$work/fake"; }

# ---- certificates: a CA, the server's, a client's, one of somebody else
pem() { # NAME SUBJECT [EXTENSIONS]: signed by ca
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$work/$1.key" -subj "/CN=$2" \
		-out "$work/$1.csr" 2>>"$work/openssl.log"
	printf 'subjectAltName=%s\n' "${3:-DNS:$2}" >"$work/$1.ext"
	openssl x509 -req -in "$work/$1.csr" -CA "$work/${4:-ca}.pem" -CAkey "$work/${4:-ca}.key" -CAcreateserial -days 2 \
		-extfile "$work/$1.ext" -out "$work/$1.pem" 2>>"$work/openssl.log" || fail "openssl: $(cat "$work/openssl.log")"
}
authority() {
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$work/$1.key" -subj "/CN=$1" \
		-days 2 -out "$work/$1.pem" 2>>"$work/openssl.log" || fail "openssl"
}
authority ca
authority stranger
pem server localhost "DNS:localhost,DNS:$S3_BUCKET.localhost,IP:127.0.0.1,IP:::1"
pem other elsewhere.invalid
pem client client
pem impostor impostor DNS:impostor stranger

# front PORT-VARIABLE ADDRESS CERT [OPTION]...: nghttpx on a free port
front() {
	local variable=$1 address=$2 cert=$3 host=$2 port
	[[ $address != *:* ]] || host=[$address]
	shift 3
	for _ in $(seq 20); do
		port=$((20000 + RANDOM % 12000))
		nghttpx --conf=/dev/null --no-ocsp --workers=1 --errorlog-file="$work/nghttpx.log" \
			--accesslog-file="$work/access.$variable" -f"$address,$port" -b"127.0.0.1,$backend" "$@" \
			"$work/$cert.key" "$work/$cert.pem" >>"$work/nghttpx.log" 2>&1 &
		local pid=$!
		for _ in $(seq 100); do
			kill -0 $pid 2>/dev/null || break
			if curl -ks --http1.1 --noproxy '*' -o /dev/null "https://$host:$port/" || [ $? = 56 ] || [ $? = 35 ]; then
				declare -g "$variable=$port"
				return
			fi
			sleep 0.1
		done
		kill $pid 2>/dev/null || true
	done
	skip "nghttpx does not start: $(tail -n 3 "$work/nghttpx.log")"
}
front plain_port 127.0.0.1 server
front strict_port 127.0.0.1 server --verify-client --verify-client-cacert="$work/ca.pem"
front wrong_port 127.0.0.1 other
check() { # CODE URL
	expect "$1" "$lungate" store check --quick "$2"
}
url() { echo "s3://$S3_BUCKET/p?retry=${retry:-5000}&endpoint=$1"; }
ca="&ca=$work/ca.pem"

echo "-- TLS: our CA; the body is not signed over https unless it is asked for"
before=$(of_fake unsigned)
check 0 "$(url "https://127.0.0.1:$plain_port")$ca"
says 'fenced: conditional PUTs hold'
[ "$(of_fake unsigned)" -gt "$before" ] || fail "bodies are hashed over https"
before=$(of_fake unsigned)
check 0 "$(url "https://127.0.0.1:$plain_port")$ca&payload=signed"
[ "$(of_fake unsigned)" = "$before" ] || fail "bodies are not hashed although that was asked for"
! grep -q 'HTTP/2' "$work/access.plain_port" || fail "HTTP/2 without being asked"

echo "-- HTTP/2"
# several: transfers share a connection, and what one reads for another must not stay in curl
for _ in 1 2 3 4 5 6; do
	expect 0 "$lungate" store check "$(url "https://127.0.0.1:$plain_port")$ca&http=2"
	says throughput
done
grep -q 'HTTP/2' "$work/access.plain_port" || fail "not HTTP/2: $(tail -n 1 "$work/access.plain_port")"

echo "-- a client's certificate"
check 0 "$(url "https://127.0.0.1:$strict_port")$ca&cert=$work/client.pem&key=$work/client.key"
retry=300
for who in '' "&cert=$work/impostor.pem&key=$work/impostor.key"; do
	code=0
	"$lungate" store check --quick "$(url "https://127.0.0.1:$strict_port")$ca$who" >"$work/out" 2>&1 || code=$?
	[ $code -ne 0 ] || fail "the server took a client without the right certificate"
done

echo "-- the bucket in the name of the host"
retry=5000
check 0 "$(url "https://localhost:$plain_port")$ca&addressing=virtual"

echo "-- IPv6"
if [ -e /proc/net/if_inet6 ] && grep -q '^00000000000000000000000000000001' /proc/net/if_inet6; then
	front six_port ::1 server
	check 0 "$(url "https://[::1]:$six_port")$ca"
else
	echo "not tried: no ::1 here"
fi

echo "-- a proxy"
if command -v tinyproxy >/dev/null; then
	for _ in $(seq 20); do
		proxy=$((20000 + RANDOM % 12000))
		printf 'Port %s\nListen 127.0.0.1\nLogFile "%s"\nLogLevel Connect\nMaxClients 50\nTimeout 30\n' \
			"$proxy" "$work/proxy.log" >"$work/proxy.conf"
		tinyproxy -d -c "$work/proxy.conf" >/dev/null 2>&1 &
		pid=$!
		for _ in $(seq 50); do
			kill -0 $pid 2>/dev/null || break
			(: <>"/dev/tcp/127.0.0.1/$proxy") 2>/dev/null && break 2
			sleep 0.1
		done
	done
	seen() { grep -c "$1" "$work/proxy.log" || true; }
	check 0 "$(url "$S3_ENDPOINT")&proxy=http://127.0.0.1:$proxy"
	[ "$(seen "lungate-probe")" -gt 0 ] || fail "http: the proxy was not asked"
	check 0 "$(url "https://127.0.0.1:$plain_port")$ca&proxy=http://127.0.0.1:$proxy"
	[ "$(seen "CONNECT 127.0.0.1:$plain_port")" -gt 0 ] || fail "https: not through the proxy"
	before=$(wc -l <"$work/proxy.log")
	NO_PROXY=127.0.0.1 check 0 "$(url "$S3_ENDPOINT")&proxy=http://127.0.0.1:$proxy"
	http_proxy=http://127.0.0.1:$proxy check 0 "$(url "$S3_ENDPOINT")"
	[ "$(wc -l <"$work/proxy.log")" = "$before" ] || fail "the proxy was asked although it should not be"
	retry=300
	check 6 "$(url "$S3_ENDPOINT")&proxy=http://127.0.0.1:1"
else
	echo "not tried: apt-get install tinyproxy"
fi

echo "-- what is wrong, in words"
retry=300
# CODE WORDS URL
row() { check "$1" "$3"; says "$2"; }
row 6 'endpoint: nobody listens' "$(url http://127.0.0.1:1)"
row 6 "endpoint: the endpoint's name cannot be resolved" "$(url http://nothing.invalid:9)"
row 3 'bucket: there is no such bucket' "s3://nobucket/p?endpoint=$S3_ENDPOINT"
AWS_ACCESS_KEY_ID=UNKNOWNKEY row 7 'permission: the server does not know the access key' "$(url "$S3_ENDPOINT")"
AWS_SECRET_ACCESS_KEY=wrong row 7 'permission: the secret key' "$(url "$S3_ENDPOINT")"
control_fake deny=1000
row 7 'permission: the access key has no permission' "$(url "$S3_ENDPOINT")"
control_fake deny=0
words='TLS: the server'"'"'s certificate is not trusted, has expired, or is for another name'
code=$("$lungate" store check --quick "$(url "https://127.0.0.1:$plain_port")" >/dev/null 2>&1; echo $?)
row "$code" "$words" "$(url "https://127.0.0.1:$plain_port")"
row "$code" "$words" "$(url "https://127.0.0.1:$wrong_port")$ca"
[ "$code" -ne 0 ] || fail "a certificate that nobody signed is taken"
code=$("$lungate" store check --quick "$(url "https://127.0.0.1:$backend")$ca" >/dev/null 2>&1; echo $?)
row "$code" 'TLS: ' "$(url "https://127.0.0.1:$backend")$ca"
# the clock: learnt from the server once, so 20 minutes do no harm
control_fake clock=1200
retry=5000
row 0 'fenced' "$(url "$S3_ENDPOINT")"
control_fake clock=0
! grep -q "$S3_SECRET_KEY" "$work/out" || fail "the secret key is told"
echo "PASS"
