/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "stores/object/s3/errors.h"

#include <errno.h>
#include <string.h>

#include <curl/curl.h>

#include "common/err.h"
#include "common/util.h"

/* The first row that fits counts.  Codes as in "Error responses" of the S3 API reference, with those of RGW,
 * MinIO and others.  Errors that are reported after retries are of class "retry" for those above (err_class).
 */
static const struct row {
	long status;      /* 0 = any */
	const char *code; /* NULL = any */
	struct s3_meaning meaning;
} rows[] = {
#define ROW(status, code, action, err, subject, text)                                                        \
	{                                                                                                    \
		(status), (code),                                                                            \
		{                                                                                            \
			S3_##action, (err), S3_SUBJECT_##subject, (text)                                     \
		}                                                                                            \
	}

	ROW(0, "SlowDown", SLOW, -EBUSY, SERVER, "the server asks for fewer requests"),
	ROW(0, "SlowDownRead", SLOW, -EBUSY, SERVER, "the server asks for fewer requests"),
	ROW(0, "SlowDownWrite", SLOW, -EBUSY, SERVER, "the server asks for fewer requests"),
	ROW(0, "TooManyRequests", SLOW, -EBUSY, SERVER, "the server asks for fewer requests"),
	ROW(0, "RequestLimitExceeded", SLOW, -EBUSY, SERVER, "the server asks for fewer requests"),
	ROW(0, "ServiceUnavailable", SLOW, -EBUSY, SERVER, "the server is overloaded or not ready"),
	ROW(0, "ServerBusy", SLOW, -EBUSY, SERVER, "the server is overloaded or not ready"),
	ROW(0, "XMinioServerNotInitialized", RETRY, -EBUSY, SERVER, "the server is still starting"),
	ROW(0, "InternalError", RETRY, -EAGAIN, SERVER, "the server reports an internal error"),
	ROW(0, "OperationAborted", RETRY, -EAGAIN, SERVER, "a conflicting operation is in progress"),
	ROW(0, "RequestTimeout", RETRY, -ETIMEDOUT, SERVER,
	    "the server waited too long for the request's body"),
	ROW(0, "IncompleteBody", RETRY, -ECONNRESET, SERVER, "the request's body was cut on its way"),
	ROW(0, "BadDigest", RETRY, -EAGAIN, REQUEST, "the body was damaged on its way to the server"),
	ROW(0, "XAmzContentSHA256Mismatch", RETRY, -EAGAIN, REQUEST,
	    "the body was damaged on its way to the server"),
	ROW(0, "XAmzContentChecksumMismatch", RETRY, -EAGAIN, REQUEST,
	    "the body was damaged on its way to the server"),

	ROW(0, "RequestTimeTooSkewed", CLOCK, -EACCES, CLOCK,
	    "the clock of this machine and the server's differ by too much"),
	ROW(0, "RequestExpired", CLOCK, -EACCES, CLOCK,
	    "the clock of this machine and the server's differ by too much"),
	ROW(0, "ExpiredToken", RENEW, -EACCES, PERMISSION, "the session token has expired"),
	ROW(0, "ExpiredTokenException", RENEW, -EACCES, PERMISSION, "the session token has expired"),
	ROW(0, "TokenRefreshRequired", RENEW, -EACCES, PERMISSION, "the session token must be renewed"),
	ROW(0, "InvalidToken", RENEW, -EACCES, PERMISSION, "the session token is not valid"),
	ROW(0, "InvalidAccessKeyId", RENEW, -EACCES, PERMISSION, "the server does not know the access key"),
	ROW(0, "SignatureDoesNotMatch", RENEW, -EACCES, PERMISSION,
	    "the secret key is not the one that belongs to the access key"),
	/* what RGW says of a key that was taken away from a user who has others */
	ROW(0, "AccessDenied", RENEW, -EACCES, PERMISSION, "the access key has no permission for this"),
	ROW(0, "AllAccessDisabled", FAIL, -EACCES, PERMISSION, "the access key has no permission for this"),
	ROW(0, "AccountProblem", FAIL, -EACCES, PERMISSION, "there is a problem with the account"),
	ROW(0, "UserSuspended", RENEW, -EACCES, PERMISSION, "the user is suspended"),
	ROW(0, "InvalidObjectState", FAIL, -EACCES, KEY, "the object is archived and must be restored first"),
	ROW(0, "ObjectLocked", FAIL, -EACCES, KEY, "the object is locked against changes"),

	ROW(0, "NoSuchBucket", FAIL, -ENODEV, BUCKET, "there is no such bucket"),
	ROW(0, "InvalidBucketName", FAIL, -ENODEV, BUCKET, "the server does not accept the bucket's name"),
	ROW(0, "PermanentRedirect", FAIL, -EREMCHG, BUCKET,
	    "the bucket is in another region: give region= and endpoint= of that one"),
	ROW(0, "AuthorizationHeaderMalformed", FAIL, -EREMCHG, BUCKET,
	    "the bucket is in another region: give its region="),
	ROW(0, "IllegalLocationConstraintException", FAIL, -EREMCHG, BUCKET,
	    "the bucket is in another region: give its region="),

	ROW(0, "QuotaExceeded", FAIL, -EDQUOT, SPACE, "the quota of the bucket or user is used up"),
	ROW(0, "XMinioAdminBucketQuotaExceeded", FAIL, -EDQUOT, SPACE, "the quota of the bucket is used up"),
	ROW(0, "ServiceQuotaExceeded", FAIL, -EDQUOT, SPACE, "the quota of the account is used up"),
	ROW(0, "XMinioStorageFull", FAIL, -ENOSPC, SPACE, "the server's disks are full"),
	ROW(0, "InsufficientStorage", FAIL, -ENOSPC, SPACE, "the server's disks are full"),
	ROW(0, "EntityTooLarge", FAIL, -EFBIG, REQUEST, "the object is larger than the server allows"),
	ROW(0, "KeyTooLongError", FAIL, -ENAMETOOLONG, KEY, "the key is longer than the server allows"),
	ROW(0, "MethodNotAllowed", FAIL, -EOPNOTSUPP, REQUEST, "the server does not support this request"),
	ROW(0, "NotImplemented", FAIL, -EOPNOTSUPP, REQUEST, "the server does not support this request"),

	ROW(0, "PreconditionFailed", CONDITION, LG_ECONFLICT, KEY, "the condition does not hold"),
	ROW(0, "ConditionalRequestConflict", CONDITION, -EAGAIN, KEY,
	    "another conditional request was in progress"),
	ROW(0, "InvalidRange", SHORT, -ENODATA, KEY, "the object is shorter than what was asked for"),
	ROW(404, "NoSuchKey", MISSING, -ENOENT, KEY, "there is no such object"),
	ROW(404, "NotFound", MISSING, -ENOENT, KEY, "there is no such object"),

	ROW(301, NULL, FAIL, -EREMCHG, BUCKET,
	    "the bucket is in another region: give region= and endpoint= of that one"),
	ROW(307, NULL, RETRY, -EAGAIN, ENDPOINT, "the server redirects for the time being"),
	ROW(308, NULL, FAIL, -EREMCHG, ENDPOINT, "the server redirects; give the endpoint that it names"),
	ROW(302, NULL, FAIL, LG_EPROTO, ENDPOINT, "the endpoint redirects: it is not an S3 server"),
	ROW(401, NULL, RENEW, -EACCES, PERMISSION, "the server does not accept the credentials"),
	ROW(403, NULL, RENEW, -EACCES, PERMISSION, "the access key has no permission for this"),
	ROW(404, NULL, MISSING, -ENOENT, KEY, "there is no such object"),
	ROW(405, NULL, FAIL, -EOPNOTSUPP, REQUEST, "the server does not support this request"),
	ROW(407, NULL, FAIL, -EACCES, PERMISSION, "the proxy asks for a password"),
	ROW(408, NULL, RETRY, -ETIMEDOUT, SERVER, "the server waited too long for the request"),
	ROW(409, NULL, CONDITION, -EAGAIN, KEY, "another request was in progress"),
	ROW(411, NULL, FAIL, LG_EPROTO, REQUEST, "the server misses the length of the body"),
	ROW(412, NULL, CONDITION, LG_ECONFLICT, KEY, "the condition does not hold"),
	ROW(413, NULL, FAIL, -EFBIG, REQUEST, "the object is larger than the server allows"),
	ROW(416, NULL, SHORT, -ENODATA, KEY, "the object is shorter than what was asked for"),
	ROW(425, NULL, RETRY, -EAGAIN, SERVER, "the server is not ready"),
	ROW(429, NULL, SLOW, -EBUSY, SERVER, "the server asks for fewer requests"),
	ROW(501, NULL, FAIL, -EOPNOTSUPP, REQUEST, "the server does not support this request"),
	ROW(503, NULL, SLOW, -EBUSY, SERVER, "the server is overloaded or not ready"),
	ROW(504, NULL, RETRY, -ETIMEDOUT, SERVER, "a gateway in front of the server waited too long"),
	ROW(507, NULL, FAIL, -ENOSPC, SPACE, "the server's disks are full"),
};

struct s3_meaning
s3_meaning_of(long status, const char *code)
{
	if (status >= 200 && status < 300 && !code[0])
		return (struct s3_meaning){S3_OK, 0, S3_SUBJECT_NONE, "it worked"};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if ((!rows[i].status || rows[i].status == status) &&
		    (!rows[i].code || !strcmp(rows[i].code, code)))
			return rows[i].meaning;
	if (status >= 500)
		return (struct s3_meaning){S3_RETRY, -EAGAIN, S3_SUBJECT_SERVER,
					   "the server reports an error of its own"};
	if (status >= 400)
		return (struct s3_meaning){S3_FAIL, LG_EPROTO, S3_SUBJECT_REQUEST,
					   "the server refuses the request"};
	return (struct s3_meaning){S3_RETRY, LG_EPROTO, S3_SUBJECT_SERVER,
				   "the answer is not one that S3 knows"};
}

static const struct curl_row {
	int curl;
	struct s3_meaning meaning;
} curl_rows[] = {
#define CURL_ROW(curl, action, err, subject, text)                                                           \
	{                                                                                                    \
		CURLE_##curl,                                                                                \
		{                                                                                            \
			S3_##action, (err), S3_SUBJECT_##subject, (text)                                     \
		}                                                                                            \
	}

	CURL_ROW(COULDNT_RESOLVE_HOST, RETRY, -EHOSTUNREACH, ENDPOINT,
		 "the endpoint's name cannot be resolved"),
	CURL_ROW(COULDNT_RESOLVE_PROXY, RETRY, -EHOSTUNREACH, ENDPOINT,
		 "the proxy's name cannot be resolved"),
	CURL_ROW(COULDNT_CONNECT, RETRY, -ECONNREFUSED, ENDPOINT, "nobody listens at the endpoint"),
	CURL_ROW(OPERATION_TIMEDOUT, RETRY, -ETIMEDOUT, ENDPOINT, "the endpoint did not answer in time"),
	CURL_ROW(GOT_NOTHING, RETRY, -ECONNRESET, ENDPOINT,
		 "the server closed the connection without an answer"),
	CURL_ROW(SEND_ERROR, RETRY, -ECONNRESET, ENDPOINT, "the connection broke while sending"),
	CURL_ROW(RECV_ERROR, RETRY, -ECONNRESET, ENDPOINT, "the connection broke while receiving"),
	CURL_ROW(PARTIAL_FILE, RETRY, -ECONNRESET, ENDPOINT, "the answer was cut short"),
	CURL_ROW(HTTP2, RETRY, -ECONNRESET, ENDPOINT, "the HTTP/2 connection broke"),
	CURL_ROW(HTTP2_STREAM, RETRY, -ECONNRESET, ENDPOINT, "the HTTP/2 stream broke"),
	CURL_ROW(
		PEER_FAILED_VERIFICATION, RETRY, -EKEYREJECTED, TLS,
		"the server's certificate is not trusted, has expired, or is for another name (see ca=FILE)"),
	CURL_ROW(SSL_CONNECT_ERROR, RETRY, -EPROTO, TLS,
		 "TLS cannot be agreed on: is it http rather than https?"),
	CURL_ROW(SSL_CACERT_BADFILE, FAIL, -EKEYREJECTED, TLS, "the file of CA certificates cannot be read"),
	CURL_ROW(SSL_CERTPROBLEM, FAIL, -EKEYREJECTED, TLS,
		 "the client certificate or its key cannot be used"),
	CURL_ROW(SSL_CIPHER, FAIL, -EPROTO, TLS, "TLS has no cipher in common"),
	CURL_ROW(SSL_INVALIDCERTSTATUS, RETRY, -EKEYREJECTED, TLS, "the server's certificate was revoked"),
	CURL_ROW(SSL_ISSUER_ERROR, RETRY, -EKEYREJECTED, TLS,
		 "the issuer of the server's certificate is wrong"),
	CURL_ROW(UNSUPPORTED_PROTOCOL, RETRY, LG_EPROTO, ENDPOINT, "the endpoint does not speak HTTP"),
	CURL_ROW(WEIRD_SERVER_REPLY, RETRY, LG_EPROTO, ENDPOINT, "the endpoint does not speak HTTP"),
	CURL_ROW(HTTP_RETURNED_ERROR, RETRY, LG_EPROTO, ENDPOINT, "the endpoint does not speak HTTP"),
	CURL_ROW(OUT_OF_MEMORY, RETRY, -ENOMEM, NONE, "this machine is out of memory"),
};

struct s3_meaning
s3_meaning_of_curl(int curl, long os_error)
{
	struct s3_meaning meaning = {S3_RETRY, -ECONNRESET, S3_SUBJECT_ENDPOINT, "the transfer failed"};

	for (size_t i = 0; i < ARRAY_SIZE(curl_rows); i++)
		if (curl_rows[i].curl == curl)
			meaning = curl_rows[i].meaning;
	if (curl == CURLE_COULDNT_CONNECT && (os_error == EHOSTUNREACH || os_error == ENETUNREACH)) {
		meaning.err = -EHOSTUNREACH;
		meaning.text = "there is no route to the endpoint";
	}
	return meaning;
}

const char *
s3_subject_name(enum s3_subject subject)
{
	static const char *const names[] = {
		[S3_SUBJECT_NONE] = "",
		[S3_SUBJECT_ENDPOINT] = "endpoint",
		[S3_SUBJECT_TLS] = "TLS",
		[S3_SUBJECT_CLOCK] = "clock",
		[S3_SUBJECT_PERMISSION] = "permission",
		[S3_SUBJECT_BUCKET] = "bucket",
		[S3_SUBJECT_KEY] = "key",
		[S3_SUBJECT_SPACE] = "space",
		[S3_SUBJECT_SERVER] = "server",
		[S3_SUBJECT_REQUEST] = "request",
	};

	return names[subject];
}
