/** For `node --import`: a node whose pushes go to the stand-in. FCM_STAND_IN is its port; NODE_EXTRA_CA_CERTS names its certificate. */
import { redirectFcm } from "./redirect.ts";

redirectFcm(Number(process.env.FCM_STAND_IN));
