import { troubled } from "./troubled.js";

export default troubled({ strategy: "exponential", min: "5ms", max: "20ms", attempts: 3 });
