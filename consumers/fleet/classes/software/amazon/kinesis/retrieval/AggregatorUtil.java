package software.amazon.kinesis.retrieval;

import java.math.BigInteger;
import java.util.ArrayList;
import java.util.List;

/**
 * Hands records on as they were read; takes the place of the class of the same name in
 * amazon-kinesis-client 3.1.3. `consumers/fleet/java.py` says why, and puts it first on the class
 * path.
 *
 * Compiled with: javac --release 8 -g:none -cp 'amazon_kclpy/jars/*' AggregatorUtil.java
 */
public class AggregatorUtil {
    public List<KinesisClientRecord> deaggregate(List<KinesisClientRecord> records) {
        return new ArrayList<>(records);
    }

    public List<KinesisClientRecord> deaggregate(
            List<KinesisClientRecord> records, String startingHashKey, String endingHashKey) {
        return new ArrayList<>(records);
    }

    public List<KinesisClientRecord> deaggregate(
            List<KinesisClientRecord> records, BigInteger startingHashKey, BigInteger endingHashKey) {
        return new ArrayList<>(records);
    }
}
