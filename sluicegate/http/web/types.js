/**
 * The shapes that more than one module of the page speaks of: what the server answers and sends, and what the page
 * knows of a person. Types only; nothing runs here.
 */

/** @typedef {import("./vendor/mediasoup-client.js").types.Transport} Transport */
/** @typedef {import("./vendor/mediasoup-client.js").types.Consumer} Consumer */
/** @typedef {import("./vendor/mediasoup-client.js").types.Producer} Producer */
/** @typedef {import("./vendor/mediasoup-client.js").types.MediaKind} MediaKind */
/** @typedef {import("./vendor/mediasoup-client.js").types.RtpParameters} RtpParameters */
/** @typedef {import("./vendor/mediasoup-client.js").types.RtpCapabilities} RtpCapabilities */
/** @typedef {import("./vendor/mediasoup-client.js").types.RtpEncodingParameters} RtpEncodingParameters */
/** @typedef {import("./vendor/mediasoup-client.js").types.DtlsParameters} DtlsParameters */
/** @typedef {import("./vendor/mediasoup-client.js").types.IceParameters} IceParameters */
/** @typedef {import("./vendor/mediasoup-client.js").types.IceCandidate} IceCandidate */

/** @typedef {"microphone" | "camera" | "screen" | "screen_audio"} Source where a track comes from */
/** @typedef {"auto" | "low" | "medium" | "high"} Quality what the viewer wants of a picture; `auto` caps nothing */

/**
 * The answer of `POST /sessions`.
 * @typedef {object} SessionAnswer
 * @property {string} session_id
 * @property {string} user_id
 * @property {string} channel_id
 * @property {RTCIceServer[]} ice_servers
 * @property {IceParameters} ice_parameters
 * @property {IceCandidate[]} ice_candidates
 * @property {DtlsParameters} dtls_parameters
 * @property {RtpCapabilities} rtp_capabilities
 */

/**
 * The answer of `POST /sessions/{id}/subscribe`.
 * @typedef {object} SubscriptionAnswer
 * @property {string} subscription_id
 * @property {string} track_id
 * @property {MediaKind} kind
 * @property {"simple" | "simulcast" | "svc" | "mix"} type
 * @property {RtpParameters} rtp_parameters
 */

/**
 * A published track, as snapshots and `track.added` describe it.
 * @typedef {object} TrackView
 * @property {string} track_id
 * @property {string} user_id
 * @property {MediaKind} kind
 * @property {Source | null} [source]
 * @property {boolean} [paused]
 * @property {string} [session_id]
 */

/**
 * What the server asks a publisher to send at most for one encoding, in the order in which they were published.
 * @typedef {object} EncodingAdvice
 * @property {boolean} active
 * @property {number | null} [max_bitrate_bps]
 * @property {number | null} [max_height]
 * @property {number | null} [max_framerate]
 */

/**
 * @typedef {object} MemberView
 * @property {string} user_id
 * @property {string[]} sessions
 * @property {{name?: unknown} | null} [metadata] this page puts the name as typed into it
 */

/**
 * What `GET /channels/{id}` answers and a snapshot carries.
 * @typedef {object} ChannelView
 * @property {string} channel_id
 * @property {MemberView[]} members
 * @property {TrackView[]} tracks
 * @property {{user_id: string} | null} [active_speaker]
 * @property {unknown} [recording]
 */

/**
 * One message of `GET /channels/{id}/events`. Every type has its own fields; those that a type lacks are undefined.
 * @typedef {object} ChannelEvent
 * @property {string} type
 * @property {ChannelView} [channel] of a snapshot
 * @property {string} [user_id]
 * @property {string} [session_id]
 * @property {string} [track_id]
 * @property {string} [subscription_id]
 * @property {MediaKind} [kind]
 * @property {Source | null} [source]
 * @property {boolean} [paused]
 * @property {string} [reason] why a session was closed
 * @property {boolean} [degraded] whether the quality of a session became bad, or is good again
 * @property {string} [cause] why it is bad, for example "publisher_uplink"
 * @property {EncodingAdvice[]} [encodings] of `track.encodings`
 */

/**
 * What a tile says about a stream, once a second.
 * @typedef {object} Figures
 * @property {number} width pixels; 0 for audio and until the first picture
 * @property {number} height
 * @property {number} framesPerSecond
 * @property {number} bitrateBps over the last second
 * @property {number} loss lost packets of those expected in the last second, 0–1
 * @property {string} codec for example "VP8"
 * @property {number} bytes since the start
 * @property {number} packets since the start
 * @property {number} packetsLost since the start
 * @property {number} framesDecoded since the start; frames encoded for one's own picture
 * @property {number} audioEnergy since the start (`totalAudioEnergy`); 0 for video
 */

/**
 * One stream of one person, own or received.
 * @typedef {object} Media
 * @property {string} trackId
 * @property {MediaKind} kind
 * @property {Source} source
 * @property {boolean} paused by its publisher
 * @property {MediaStreamTrack | null} track null while it is being set up
 * @property {Consumer | Producer | null} endpoint
 * @property {string | null} subscriptionId null for one's own
 * @property {Quality} quality
 * @property {string | null} problem why it cannot be shown, in words
 * @property {Figures | null} figures
 */

/**
 * Who the page is, in which channel.
 * @typedef {object} Identity
 * @property {string} userId
 * @property {string} name as typed
 * @property {string} channel
 */

/** @typedef {"idle" | "joining" | "connected" | "reconnecting" | "unroutable"} Connection */

export {};
